//! Stores components and bindings on Redis.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use redis::Cmd;

use super::{RedisServer, key, on};
use crate::error::{Code, Error, Result, Stage};
use crate::queue::registry::{check_data_size, check_size};
use crate::queue::{Binding, Component, ListedBinding, Registry, unreadable_binding, wrong_binding};

const COMPONENTS: &str = "ingest:components";
/// The longest time to transfer the bytes of a component, or reference data.
const TRANSFER: Duration = Duration::from_secs(120);

#[async_trait]
impl Registry for RedisServer {
    async fn push_component(&self, component: &Component, bytes: &[u8]) -> Result<()> {
        // The bytes are stored first, because a reader that finds the component in the list must also find its bytes.
        let set = Cmd::new()
            .arg("SETNX")
            .arg(bytes_key(&component.sha256))
            .arg(bytes)
            .to_owned();
        self.connections.query_apart::<()>(&set, TRANSFER).await?;
        let get = Cmd::new()
            .arg("HGET")
            .arg(COMPONENTS)
            .arg(&component.sha256)
            .to_owned();
        let known: Option<Vec<u8>> = self.connections.query(&get).await?;
        let listed = match known {
            Some(text) => Component {
                pushed_ms: component.pushed_ms,
                ..self.decode(&text)?
            },
            None => component.clone(),
        };
        let list = Cmd::new()
            .arg("HSET")
            .arg(COMPONENTS)
            .arg(&component.sha256)
            .arg(encode(&listed)?)
            .to_owned();
        self.connections.query(&list).await
    }

    async fn component(&self, sha256: &str, bytes_max: usize) -> Result<Option<Vec<u8>>> {
        let size = Cmd::new().arg("STRLEN").arg(bytes_key(sha256)).to_owned();
        check_size(self.connections.query(&size).await?, bytes_max)?;
        let get = Cmd::new().arg("GET").arg(bytes_key(sha256)).to_owned();
        self.connections.query_apart(&get, TRANSFER).await
    }

    async fn push_data(&self, sha256: &str, bytes: &[u8]) -> Result<()> {
        let set = Cmd::new()
            .arg("SETNX")
            .arg(data_key(sha256))
            .arg(bytes)
            .to_owned();
        self.connections.query_apart(&set, TRANSFER).await
    }

    async fn data(&self, sha256: &str, bytes_max: usize) -> Result<Option<Vec<u8>>> {
        let size = Cmd::new().arg("STRLEN").arg(data_key(sha256)).to_owned();
        check_data_size(self.connections.query(&size).await?, bytes_max)?;
        let get = Cmd::new().arg("GET").arg(data_key(sha256)).to_owned();
        self.connections.query_apart(&get, TRANSFER).await
    }

    async fn components(&self) -> Result<Vec<Component>> {
        let texts: Vec<Vec<u8>> = self
            .connections
            .query(Cmd::new().arg("HVALS").arg(COMPONENTS))
            .await?;
        let mut components = texts
            .iter()
            .map(|text| self.decode(text))
            .collect::<Result<Vec<Component>>>()?;
        components.sort_unstable_by(|a, b| (b.pushed_ms, &b.sha256).cmp(&(a.pushed_ms, &a.sha256)));
        Ok(components)
    }

    async fn bind(&self, queue: &str, binding: &Binding, expected: Option<u64>) -> Result<u64> {
        self.register(queue).await?;
        let mut call = on(&self.scripts.bind, queue)?;
        call.arg(encode(binding)?)
            .arg(expected.map_or(String::new(), |number| number.to_string()));
        match (self.connections.invoke(&call).await?, expected) {
            ((false, current), Some(expected)) => Err(wrong_binding(queue, expected, current)),
            ((_, number), _) => Ok(number),
        }
    }

    async fn binding(&self, queue: &str, number: u64) -> Result<Option<Binding>> {
        let get = Cmd::new()
            .arg("HGET")
            .arg(key(queue, "bindings")?)
            .arg(number)
            .to_owned();
        let text: Option<Vec<u8>> = self.connections.query(&get).await?;
        text.map(|text| binding_of(queue, number, &text)).transpose()
    }

    async fn bindings(&self, queue: &str) -> Result<Vec<ListedBinding>> {
        let get = Cmd::new().arg("HGETALL").arg(key(queue, "bindings")?).to_owned();
        let texts: HashMap<u64, Vec<u8>> = self.connections.query(&get).await?;
        let mut bindings: Vec<_> = texts
            .iter()
            .map(|(number, text)| {
                let read = binding_of(queue, *number, text);
                ListedBinding::new(*number, &String::from_utf8_lossy(text), read)
            })
            .collect();
        bindings.sort_unstable_by_key(|binding| std::cmp::Reverse(binding.number()));
        Ok(bindings)
    }

    fn losses_seen(&self) -> u64 {
        self.losses.load(Ordering::Relaxed)
    }
}

fn binding_of(queue: &str, number: u64, text: &[u8]) -> Result<Binding> {
    let text = String::from_utf8_lossy(text);
    strict_json::from_str(&text).map_err(|why| unreadable_binding(queue, number, why))
}

fn data_key(sha256: &str) -> String {
    format!("ingest:data:{sha256}")
}

fn bytes_key(sha256: &str) -> String {
    format!("ingest:component:{sha256}")
}

fn encode(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|e| Error::permanent(Stage::Queue, Code::HostFailure, "plugin description").because(e))
}
