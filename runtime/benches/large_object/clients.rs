//! Fills the bucket and copies an object. Each function runs in a process of its own, so that the memory of the process
//! that measures stays small: until a program is loaded, the kernel counts the memory of its parent as its own.

use std::io::{self, Write};

use futures_util::{StreamExt, TryStreamExt, stream};
use ingest_host::storage::object::PART_BYTES;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStoreExt};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use crate::Result;
use crate::server::BUCKET;
use crate::support::object_client::{self, Bucket};
use crate::support::s3::{ACCESS_KEY, SECRET_KEY};

const SEED: u64 = 20_260_101;

/// The share of records that the plugin must reject, so that there are rejects to upload.
const BAD_PERCENT: u8 = 1;

/// The number of parts that a copy uploads at the same time. The worker uploads as many.
const IN_FLIGHT: usize = 2;

fn bucket(endpoint: &str) -> Bucket {
    object_client::s3(endpoint, BUCKET, (ACCESS_KEY, SECRET_KEY))
}

/// Writes alarms into an object. The object is uploaded in parts, because the server would otherwise compute the MD5 of
/// the whole object for each request.
pub(crate) fn fill(endpoint: &str, key: &str, records: &str) -> Result {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let upload = runtime.block_on(bucket(endpoint).put_multipart(&Path::from(key)))?;
    let mut parts = PartWriter {
        runtime,
        upload,
        buffer: Vec::new(),
    };
    alarm_feed::write_alarms(&mut parts, SEED, records.parse()?, BAD_PERCENT)?;
    parts.send()?;
    parts.runtime.block_on(parts.upload.complete())?;
    Ok(())
}

/// A writer into the parts of an upload.
struct PartWriter {
    runtime: Runtime,
    upload: Box<dyn MultipartUpload>,
    buffer: Vec<u8>,
}

impl PartWriter {
    fn send(&mut self) -> io::Result<()> {
        let part = std::mem::take(&mut self.buffer);
        self.runtime
            .block_on(self.upload.put_part(part.into()))
            .map_err(io::Error::other)
    }
}

impl Write for PartWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let now = bytes.len().min(PART_BYTES - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..now]);
        if self.buffer.len() == PART_BYTES {
            self.send()?;
        }
        Ok(now)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Copies an object: requests ranges of the length of a part, as many at the same time as `at_once` says, and uploads
/// each range as a part.
pub(crate) fn copy(endpoint: &str, from: &str, to: &str, at_once: &str) -> Result {
    let (from, to, at_once) = (Path::from(from), Path::from(to), at_once.parse()?);
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(copy_parts(&bucket(endpoint), &from, &to, at_once))
}

async fn copy_parts(bucket: &Bucket, from: &Path, to: &Path, at_once: usize) -> Result {
    let bytes = bucket.head(from).await?.size;
    let mut upload = bucket.put_multipart(to).await?;
    let part = PART_BYTES as u64;
    let starts = (0..bytes.div_ceil(part)).map(|index| index * part);
    let mut ranges = stream::iter(starts)
        .map(|start| bucket.get_range(from, start..bytes.min(start + part)))
        .buffered(at_once);
    let mut running = JoinSet::new();
    while let Some(range) = ranges.try_next().await? {
        if running.len() == IN_FLIGHT {
            running.join_next().await.ok_or("no part is in flight")???;
        }
        running.spawn(upload.put_part(range.into()));
    }
    while let Some(part) = running.join_next().await {
        part??;
    }
    upload.complete().await?;
    Ok(())
}
