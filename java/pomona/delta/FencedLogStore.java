package pomona.delta;

import io.delta.storage.S3SingleDriverLogStore;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileAlreadyExistsException;
import java.util.Arrays;
import java.util.Iterator;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ThreadLocalRandom;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.Path;

/**
 * Delta log store for S3 with fencing of paused or concurrent writers.
 *
 * <p>A commit file is created with a conditional put, so it is never overwritten. For tables registered with {@link
 * #requireLease}, the lease is checked before each put, and a writer that lost it while it was paused fails. A writer
 * may also be paused between check and put. The next lease owner then has already written an empty commit with the same
 * version, so the put fails, and so does the lease check of the next attempt.
 */
public final class FencedLogStore extends S3SingleDriverLogStore {
  private static final int MAX_ATTEMPTS = 8;
  private static final Map<String, Lease> LEASES = new ConcurrentHashMap<>();

  public FencedLogStore(Configuration conf) {
    super(conf);
  }

  /** Returns whether S3A provides access to its client: Hadoop 3.4 or newer, with version 2 of the AWS SDK. */
  public static boolean isSupported() {
    try {
      Class.forName("org.apache.hadoop.fs.s3a.S3AInternals", false, FencedLogStore.class.getClassLoader());
      return true;
    } catch (ClassNotFoundException e) {
      return false;
    }
  }

  /** Requires that the lease object names this owner whenever a commit is written to the table. */
  public static void requireLease(String table, String lease, String owner) {
    LEASES.put(table, new Lease(lease, owner));
  }

  /** Removes the requirement of a lease for the table. */
  public static void release(String table) {
    LEASES.remove(table);
  }

  @Override
  public void write(Path path, Iterator<String> actions, Boolean overwrite, Configuration conf)
      throws IOException {
    Path file = path.getFileSystem(conf).makeQualified(path);
    Lease lease = LEASES.get(file.getParent().getParent().toString());
    if (overwrite) { // not a commit, for example _last_checkpoint
      if (lease != null) {
        lease.check(conf);
      }
      super.write(path, actions, true, conf);
      return;
    }
    byte[] content = join(actions);
    for (int attempt = 1; ; attempt++) {
      if (lease != null) {
        lease.check(conf);
      }
      try {
        ConditionalPut.put(file, content, conf);
        return;
      } catch (FileAlreadyExistsException exists) {
        // If the response to an earlier attempt was lost, the existing file is this one: each has a random id.
        if (Arrays.equals(ConditionalPut.get(file, conf), content)) {
          return;
        }
        throw exists;
      } catch (IOException error) {
        backOff(error, attempt);
      }
    }
  }

  private static byte[] join(Iterator<String> actions) throws IOException {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    while (actions.hasNext()) {
      bytes.write(actions.next().getBytes(StandardCharsets.UTF_8));
      bytes.write('\n');
    }
    return bytes.toByteArray();
  }

  /** Waits before the next attempt. Throws the error if it is permanent or this was the last attempt. */
  private static void backOff(IOException error, int attempt) throws IOException {
    if (attempt == MAX_ATTEMPTS || error instanceof AccessDeniedException) {
      throw error;
    }
    try {
      Thread.sleep(ThreadLocalRandom.current().nextLong(50, 200) << Math.min(attempt, 5));
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IOException("interrupted while committing", e);
    }
  }

  /** The lease object of a lake, and the owner that it must name. */
  private record Lease(String uri, String owner) {
    void check(Configuration conf) throws IOException {
      for (int attempt = 1; ; attempt++) {
        try {
          byte[] content = ConditionalPut.get(new Path(uri), conf);
          if (content == null) {
            throw new LeaseLostException(uri + " was deleted");
          }
          String document = new String(content, StandardCharsets.UTF_8);
          if (!document.contains('"' + owner + '"')) {
            throw new LeaseLostException("another process has taken over the lake, see " + uri);
          }
          return;
        } catch (LeaseLostException lost) {
          throw lost;
        } catch (IOException error) {
          backOff(error, attempt);
        }
      }
    }
  }
}
