package pomona.source;

import java.io.FileNotFoundException;
import java.io.IOException;
import java.nio.file.DirectoryIteratorException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.LinkOption;
import java.nio.file.NoSuchFileException;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import org.apache.hadoop.fs.FileStatus;
import org.apache.hadoop.fs.LocalFileSystem;
import org.apache.hadoop.fs.Path;

/**
 * The local file system as the stream lists a source: one entry that cannot be listed does not end the query.
 *
 * <p>Hadoop's own listing fails if a folder is unreadable, or is renamed while it is listed, and it follows a link that
 * leads back to a folder above it up to 40 times. This class has the rules of LocalStorage.list in
 * streaming/storage/local.py: regular files and folders; links are followed, except to a folder above the link and, if
 * the configuration has {@link #BOUNDARY}, out of that folder.
 */
public final class SourceFileSystem extends LocalFileSystem {
  /** Key of the configuration: the path of the folder that links must not lead out of. */
  public static final String BOUNDARY = "pomona.source.boundary";

  @Override
  public FileStatus[] listStatus(Path path) throws IOException {
    java.nio.file.Path folder;
    try {
      folder = pathToFile(path).toPath();
    } catch (InvalidPathException unmappable) { // the locale has no bytes for a character of the name
      return super.listStatus(path);
    }
    BasicFileAttributes attributes;
    try {
      attributes = Files.readAttributes(folder, BasicFileAttributes.class);
    } catch (NoSuchFileException missing) {
      throw new FileNotFoundException("File " + path + " does not exist");
    } catch (IOException unreadable) {
      return new FileStatus[0];
    }
    if (attributes.isRegularFile()) {
      return new FileStatus[] {status(makeQualified(path), attributes)};
    }
    if (!attributes.isDirectory()) {
      return new FileStatus[0];
    }
    java.nio.file.Path boundary;
    try {
      boundary = realBoundary();
      if (leadsOutside(folder, boundary)) { // replaced by a link after it was listed
        return new FileStatus[0];
      }
    } catch (IOException | InvalidPathException removed) {
      return new FileStatus[0];
    }
    List<FileStatus> found = new ArrayList<>();
    try (DirectoryStream<java.nio.file.Path> entries = Files.newDirectoryStream(folder)) {
      addEntries(entries, folder, boundary, makeQualified(path), found);
    } catch (IOException | DirectoryIteratorException unreadableOrRemoved) {
      return found.toArray(new FileStatus[0]); // the sweep reports it, with its name
    }
    return found.toArray(new FileStatus[0]);
  }

  private void addEntries(
      Iterable<java.nio.file.Path> entries,
      java.nio.file.Path folder,
      java.nio.file.Path boundary,
      Path parent,
      List<FileStatus> found) {
    Set<Object> above = null;
    for (java.nio.file.Path entry : entries) {
      String name = entry.getFileName().toString();
      // A name that is not valid in the locale's encoding is decoded with this character, and names no file then.
      if (name.indexOf('\uFFFD') >= 0 && !folder.resolve(name).equals(entry)) {
        continue;
      }
      BasicFileAttributes attributes;
      try {
        attributes = Files.readAttributes(entry, BasicFileAttributes.class, LinkOption.NOFOLLOW_LINKS);
        if (attributes.isSymbolicLink()) {
          attributes = Files.readAttributes(entry, BasicFileAttributes.class);
          if (leadsOutside(entry, boundary)) {
            continue;
          }
        }
      } catch (IOException danglingOrUnreadable) {
        continue;
      }
      if (attributes.isDirectory()) {
        above = above == null ? keysFrom(folder) : above;
        if (attributes.fileKey() != null && above.contains(attributes.fileKey())) {
          continue;
        }
      } else if (!attributes.isRegularFile()) {
        continue;
      }
      found.add(status(new Path(parent, new Path(null, null, name)), attributes));
    }
  }

  /** Return the folder that links must not lead out of, without links; null if there is none. */
  private java.nio.file.Path realBoundary() throws IOException {
    String boundary = getConf().get(BOUNDARY);
    return boundary == null ? null : java.nio.file.Path.of(boundary).toRealPath();
  }

  private static boolean leadsOutside(java.nio.file.Path path, java.nio.file.Path realBoundary) throws IOException {
    return realBoundary != null && !path.toRealPath().startsWith(realBoundary);
  }

  /** Return device and inode of a folder and of all folders above it. */
  private static Set<Object> keysFrom(java.nio.file.Path folder) {
    Set<Object> keys = new HashSet<>();
    for (java.nio.file.Path part = folder; part != null; part = part.getParent()) {
      try {
        keys.add(Files.readAttributes(part, BasicFileAttributes.class).fileKey());
      } catch (IOException unreadable) {
        continue;
      }
    }
    return keys;
  }

  private FileStatus status(Path path, BasicFileAttributes attributes) {
    long micros = attributes.lastModifiedTime().to(TimeUnit.MICROSECONDS);
    boolean isFolder = attributes.isDirectory();
    long length = isFolder ? 0 : attributes.size();
    return new FileStatus(length, isFolder, 1, getDefaultBlockSize(path), Math.floorDiv(micros, 1000), path);
  }
}
