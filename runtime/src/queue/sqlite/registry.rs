//! Stores components and bindings in SQLite.

use async_trait::async_trait;
use rusqlite::{OptionalExtension, params};

use super::SqliteFile;
use super::queues::{register, wake};
use crate::error::Result;
use crate::names::{check_queue_name, check_usable_queue_name};
use crate::queue::registry::{check_data_size, check_size};
use crate::queue::{Binding, Component, ListedBinding, Registry, unreadable_binding, wrong_binding};

/// The result of a bind, within its transaction.
enum BindOutcome {
    /// The binding was stored with this number.
    Bound(u64),
    /// Another bind came first, so the number in force is not the expected one.
    Changed { expected: u64, current: u64 },
}

#[async_trait]
impl Registry for SqliteFile {
    async fn push_component(&self, component: &Component, bytes: &[u8]) -> Result<()> {
        let (component, bytes) = (component.clone(), bytes.to_vec());
        let pushed = self.database.write(move |db| {
            db.execute(
                "INSERT INTO component (sha256, name, version, bytes, pushed_ms, content)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (sha256) DO UPDATE SET pushed_ms = excluded.pushed_ms",
                params![
                    component.sha256,
                    component.name,
                    component.version,
                    component.bytes,
                    component.pushed_ms,
                    bytes
                ],
            )
        });
        pushed.await.map(drop)
    }

    async fn component(&self, sha256: &str, bytes_max: usize) -> Result<Option<Vec<u8>>> {
        let sha256 = sha256.to_owned();
        let found = self.database.read(move |db, _| {
            let size = "SELECT length(content) FROM component WHERE sha256 = ?1";
            let size: Option<u64> = db.query_row(size, [&sha256], |row| row.get(0)).optional()?;
            let size = size.unwrap_or_default();
            if check_size(size, bytes_max).is_err() {
                return Ok((size, None));
            }
            let content = "SELECT content FROM component WHERE sha256 = ?1";
            let content = db.query_row(content, [&sha256], |row| row.get(0));
            Ok((size, content.optional()?))
        });
        let (size, content) = found.await?;
        check_size(size, bytes_max)?;
        Ok(content)
    }

    async fn push_data(&self, sha256: &str, bytes: &[u8]) -> Result<()> {
        let (sha256, bytes) = (sha256.to_owned(), bytes.to_vec());
        let pushed = self.database.write(move |db| {
            db.execute(
                "INSERT INTO data (sha256, content) VALUES (?1, ?2) ON CONFLICT (sha256) DO NOTHING",
                params![sha256, bytes],
            )
        });
        pushed.await.map(drop)
    }

    async fn data(&self, sha256: &str, bytes_max: usize) -> Result<Option<Vec<u8>>> {
        let sha256 = sha256.to_owned();
        let found = self.database.read(move |db, _| {
            let size = "SELECT length(content) FROM data WHERE sha256 = ?1";
            let size: Option<u64> = db.query_row(size, [&sha256], |row| row.get(0)).optional()?;
            let size = size.unwrap_or_default();
            if check_data_size(size, bytes_max).is_err() {
                return Ok((size, None));
            }
            let content = "SELECT content FROM data WHERE sha256 = ?1";
            let content = db.query_row(content, [&sha256], |row| row.get(0));
            Ok((size, content.optional()?))
        });
        let (size, content) = found.await?;
        check_data_size(size, bytes_max)?;
        Ok(content)
    }

    async fn components(&self) -> Result<Vec<Component>> {
        let found = self.database.read(|db, _| {
            db.prepare_cached(
                "SELECT sha256, name, version, bytes, pushed_ms FROM component ORDER BY pushed_ms DESC, sha256 DESC",
            )?
            .query_map([], |row| {
                Ok(Component {
                    sha256: row.get(0)?,
                    name: row.get(1)?,
                    version: row.get(2)?,
                    bytes: row.get(3)?,
                    pushed_ms: row.get(4)?,
                })
            })?
            .collect()
        });
        found.await
    }

    async fn bind(&self, queue: &str, binding: &Binding, expected: Option<u64>) -> Result<u64> {
        check_usable_queue_name(queue)?;
        let (name, mut binding) = (queue.to_owned(), binding.clone());
        let bound = self.database.write(move |db| {
            register(db, &name)?;
            let current: u64 = db.query_row(
                "SELECT coalesce(binding, 0) FROM queue WHERE name = ?1",
                [&name],
                |row| row.get(0),
            )?;
            if let Some(expected) = expected.filter(|expected| *expected != current) {
                return Ok(BindOutcome::Changed { expected, current });
            }
            binding.number = current + 1;
            let document = serde_json::to_string(&binding)
                .map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
            db.execute(
                "INSERT INTO binding (queue, number, document) VALUES (?1, ?2, ?3)",
                params![name, binding.number, document],
            )?;
            db.execute(
                "UPDATE queue SET binding = ?2 WHERE name = ?1",
                params![name, binding.number],
            )?;
            wake(db, &name)?;
            Ok(BindOutcome::Bound(binding.number))
        });
        match bound.await? {
            BindOutcome::Bound(number) => Ok(number),
            BindOutcome::Changed { expected, current } => Err(wrong_binding(queue, expected, current)),
        }
    }

    async fn binding(&self, queue: &str, number: u64) -> Result<Option<Binding>> {
        check_queue_name(queue)?;
        let name = queue.to_owned();
        let found = self.database.read(move |db, _| {
            db.prepare_cached("SELECT number, document FROM binding WHERE queue = ?1 AND number = ?2")?
                .query_row(params![name, number], stored)
                .optional()
        });
        found
            .await?
            .map(|(number, document)| binding_of(queue, number, &document))
            .transpose()
    }

    async fn bindings(&self, queue: &str) -> Result<Vec<ListedBinding>> {
        check_queue_name(queue)?;
        let name = queue.to_owned();
        let found = self.database.read(move |db, _| {
            db.prepare_cached("SELECT number, document FROM binding WHERE queue = ?1 ORDER BY number DESC")?
                .query_map([name], stored)?
                .collect::<rusqlite::Result<Vec<_>>>()
        });
        let listed = found.await?.into_iter().map(|(number, document)| {
            let read = binding_of(queue, number, &document);
            ListedBinding::new(number, &document, read)
        });
        Ok(listed.collect())
    }
}

/// Returns a binding's number and its document from a row.
fn stored(row: &rusqlite::Row<'_>) -> rusqlite::Result<(u64, String)> {
    Ok((row.get(0)?, row.get(1)?))
}

fn binding_of(queue: &str, number: u64, document: &str) -> Result<Binding> {
    strict_json::from_str(document).map_err(|why| unreadable_binding(queue, number, why))
}
