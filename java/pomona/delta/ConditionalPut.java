package pomona.delta;

import java.io.IOException;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileAlreadyExistsException;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.fs.s3a.S3AFileSystem;
import software.amazon.awssdk.core.exception.SdkException;
import software.amazon.awssdk.core.sync.RequestBody;
import software.amazon.awssdk.services.s3.S3Client;
import software.amazon.awssdk.services.s3.model.GetObjectRequest;
import software.amazon.awssdk.services.s3.model.NoSuchKeyException;
import software.amazon.awssdk.services.s3.model.PutObjectRequest;
import software.amazon.awssdk.services.s3.model.S3Exception;

/** Whole small objects, through the client that S3A has set up; its headers are those of every version of the SDK. */
final class ConditionalPut {
  private ConditionalPut() {}

  /** Put an object where there is none; FileAlreadyExistsException where there is one. */
  static void put(Path place, byte[] content, Configuration conf) throws IOException {
    PutObjectRequest request =
        PutObjectRequest.builder()
            .bucket(place.toUri().getHost())
            .key(key(place))
            .overrideConfiguration(options -> options.putHeader("If-None-Match", "*"))
            .build();
    try {
      client(place, conf).putObject(request, RequestBody.fromBytes(content));
    } catch (S3Exception refused) {
      if (refused.statusCode() == 412) {
        throw new FileAlreadyExistsException(place.toString());
      }
      throw told(place, refused);
    } catch (SdkException fault) {
      throw told(place, fault);
    }
  }

  /** The bytes of an object; null where there is none. */
  static byte[] get(Path place, Configuration conf) throws IOException {
    GetObjectRequest request =
        GetObjectRequest.builder().bucket(place.toUri().getHost()).key(key(place)).build();
    try {
      return client(place, conf).getObjectAsBytes(request).asByteArray();
    } catch (NoSuchKeyException none) {
      return null;
    } catch (SdkException fault) {
      throw told(place, fault);
    }
  }

  private static IOException told(Path place, SdkException error) {
    if (error instanceof S3Exception && ((S3Exception) error).statusCode() == 403) {
      IOException denied = new AccessDeniedException(place.toString(), null, error.getMessage());
      denied.initCause(error);
      return denied;
    }
    return new IOException(place + ": " + error.getMessage(), error);
  }

  private static S3Client client(Path place, Configuration conf) throws IOException {
    FileSystem files = place.getFileSystem(conf);
    if (files instanceof S3AFileSystem) {
      return ((S3AFileSystem) files).getS3AInternals().getAmazonS3Client("Delta's log");
    }
    throw new IOException(place + ": only S3A is known, not " + files.getClass().getName());
  }

  private static String key(Path place) {
    return place.toUri().getPath().substring(1);
  }
}
