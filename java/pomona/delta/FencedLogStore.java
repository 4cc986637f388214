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
 * Delta's log on S3 for writers that may be paused, or not alone.
 *
 * <p>A commit's file is put only where there is none of its name. For the tables of a lake that this process holds, the
 * lease is looked at before each put: a writer that has lost it while it was paused is refused. Between that look and
 * the put it may be paused too; the next holder has then made an empty commit under the number that this one had
 * prepared, so the put fails, and the look before the next try refuses it.
 */
public final class FencedLogStore extends S3SingleDriverLogStore {
  private static final int ATTEMPTS = 8;
  private static final Map<String, Lease> LEASES = new ConcurrentHashMap<>();

  public FencedLogStore(Configuration conf) {
    super(conf);
  }

  /** Whether S3A hands out its client here: Hadoop 3.4 and newer, on the second AWS SDK. */
  public static boolean works() {
    try {
      Class.forName("org.apache.hadoop.fs.s3a.S3AInternals", false, FencedLogStore.class.getClassLoader());
      return true;
    } catch (ClassNotFoundException e) {
      return false;
    }
  }

  /** From now on, commits to a table need the lease object to name this holder. */
  public static void hold(String table, String lease, String holder) {
    LEASES.put(table, new Lease(lease, holder));
  }

  /** Commits to a table need no lease any more. */
  public static void release(String table) {
    LEASES.remove(table);
  }

  @Override
  public void write(Path path, Iterator<String> actions, Boolean overwrite, Configuration conf)
      throws IOException {
    Path place = path.getFileSystem(conf).makeQualified(path);
    Lease lease = LEASES.get(place.getParent().getParent().toString());
    if (overwrite) { // hints such as _last_checkpoint, which are no commits
      if (lease != null) {
        lease.check(conf);
      }
      super.write(path, actions, true, conf);
      return;
    }
    byte[] content = joined(actions);
    for (int attempt = 1; ; attempt++) {
      if (lease != null) {
        lease.check(conf);
      }
      try {
        ConditionalPut.put(place, content, conf);
        return;
      } catch (FileAlreadyExistsException taken) {
        // Where the answer to an earlier try was lost, the file is this one: Delta puts a random id into each.
        if (Arrays.equals(ConditionalPut.get(place, conf), content)) {
          return;
        }
        throw taken;
      } catch (IOException fault) {
        restAfter(fault, attempt);
      }
    }
  }

  private static byte[] joined(Iterator<String> actions) throws IOException {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    while (actions.hasNext()) {
      bytes.write(actions.next().getBytes(StandardCharsets.UTF_8));
      bytes.write('\n');
    }
    return bytes.toByteArray();
  }

  /** Wait before the next attempt; a fault that no patience mends, or the last one, is thrown. */
  private static void restAfter(IOException fault, int attempt) throws IOException {
    if (attempt == ATTEMPTS || fault instanceof AccessDeniedException) {
      throw fault;
    }
    try {
      Thread.sleep(ThreadLocalRandom.current().nextLong(50, 200) << Math.min(attempt, 5));
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IOException("interrupted while committing", e);
    }
  }

  /** The lease object of a lake, and the holder that it must name. */
  private record Lease(String uri, String holder) {
    void check(Configuration conf) throws IOException {
      for (int attempt = 1; ; attempt++) {
        try {
          byte[] found = ConditionalPut.get(new Path(uri), conf);
          if (found == null) {
            throw new LeaseLostException(uri + " is gone: somebody has deleted it");
          }
          String told = new String(found, StandardCharsets.UTF_8);
          if (!told.contains('"' + holder + '"')) {
            throw new LeaseLostException("another process has taken the lake over, as " + uri + " tells");
          }
          return;
        } catch (LeaseLostException lost) {
          throw lost;
        } catch (IOException fault) {
          restAfter(fault, attempt);
        }
      }
    }
  }
}
