package pomona.delta;

import java.io.IOException;

/** This process has lost the lease of the lake, and must not write to it. */
public final class LeaseLostException extends IOException {
  private static final long serialVersionUID = 1L;

  public LeaseLostException(String message) {
    super(message);
  }
}
