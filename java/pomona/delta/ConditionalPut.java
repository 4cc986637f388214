package pomona.delta;

import java.io.IOException;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileAlreadyExistsException;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.fs.s3a.S3AFileSystem;
import software.amazon.awssdk.awscore.AwsRequestOverrideConfiguration;
import software.amazon.awssdk.core.exception.SdkException;
import software.amazon.awssdk.core.sync.RequestBody;
import software.amazon.awssdk.services.s3.S3Client;
import software.amazon.awssdk.services.s3.model.GetObjectRequest;
import software.amazon.awssdk.services.s3.model.NoSuchKeyException;
import software.amazon.awssdk.services.s3.model.PutObjectRequest;
import software.amazon.awssdk.services.s3.model.S3Exception;

/**
 * Reads and conditionally writes small objects with the client of S3A. Its request factory adds what the configuration
 * of the bucket requires: encryption, ACL, storage class. The header of the condition is set directly, so that any
 * version 2 of the AWS SDK can be used.
 */
final class ConditionalPut {
  private ConditionalPut() {}

  /** Creates an object; throws FileAlreadyExistsException if it exists. */
  static void put(Path path, byte[] content, Configuration conf) throws IOException {
    S3AFileSystem files = fileSystem(path, conf);
    PutObjectRequest.Builder request =
        files.getRequestFactory().newPutObjectRequestBuilder(key(path), null, content.length, false);
    AwsRequestOverrideConfiguration settings = request.overrideConfiguration(); // timeouts of S3A
    AwsRequestOverrideConfiguration.Builder changed =
        settings == null ? AwsRequestOverrideConfiguration.builder() : settings.toBuilder();
    request.overrideConfiguration(changed.putHeader("If-None-Match", "*").build());
    try {
      client(files).putObject(request.build(), RequestBody.fromBytes(content));
    } catch (S3Exception error) {
      if (error.statusCode() == 412) {
        throw new FileAlreadyExistsException(path.toString());
      }
      throw translate(path, error);
    } catch (SdkException error) {
      throw translate(path, error);
    }
  }

  /** Returns the content of an object, or null if it does not exist. */
  static byte[] get(Path path, Configuration conf) throws IOException {
    GetObjectRequest request =
        GetObjectRequest.builder().bucket(path.toUri().getHost()).key(key(path)).build();
    try {
      return client(fileSystem(path, conf)).getObjectAsBytes(request).asByteArray();
    } catch (NoSuchKeyException missing) {
      return null;
    } catch (SdkException error) {
      throw translate(path, error);
    }
  }

  private static IOException translate(Path path, SdkException error) {
    if (error instanceof S3Exception && ((S3Exception) error).statusCode() == 403) {
      IOException denied = new AccessDeniedException(path.toString(), null, error.getMessage());
      denied.initCause(error);
      return denied;
    }
    return new IOException(path + ": " + error.getMessage(), error);
  }

  private static S3AFileSystem fileSystem(Path path, Configuration conf) throws IOException {
    FileSystem files = path.getFileSystem(conf);
    if (files instanceof S3AFileSystem) {
      return (S3AFileSystem) files;
    }
    throw new IOException(path + ": only S3A is supported, not " + files.getClass().getName());
  }

  private static S3Client client(S3AFileSystem files) throws IOException {
    return files.getS3AInternals().getAmazonS3Client("Delta's log");
  }

  private static String key(Path path) {
    return path.toUri().getPath().substring(1);
  }
}
