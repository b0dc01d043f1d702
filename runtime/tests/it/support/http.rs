//! A real HTTP server on the loopback address.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::Semaphore;

/// A server that serves files until it is dropped.
pub(crate) struct Files {
    pub(crate) url: String,
    shared: Arc<Shared>,
    _runtime: tokio::runtime::Runtime,
}

#[derive(Default)]
struct Shared {
    files: Mutex<HashMap<String, Bytes>>,
    held: Mutex<HashMap<String, Arc<Semaphore>>>,
    busy: Mutex<HashMap<String, u32>>,
    types: Mutex<HashMap<String, String>>,
}

impl Files {
    pub(crate) fn serve() -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let shared = Arc::new(Shared::default());
        let app = Router::new()
            .route("/{name}", get(file))
            .with_state(Arc::clone(&shared));
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self {
            url,
            shared,
            _runtime: runtime,
        }
    }

    /// Adds a file and returns its URL.
    pub(crate) fn put(&self, name: &str, bytes: impl Into<Bytes>) -> String {
        self.shared
            .files
            .lock()
            .expect("unpoisoned")
            .insert(name.to_owned(), bytes.into());
        format!("{}/{name}", self.url)
    }

    /// Adds a file with this content type, and returns its URL.
    pub(crate) fn put_as(&self, name: &str, content_type: &str, bytes: impl Into<Bytes>) -> String {
        self.shared
            .types
            .lock()
            .expect("unpoisoned")
            .insert(name.to_owned(), content_type.to_owned());
        self.put(name, bytes)
    }

    /// Adds a file and returns its URL. The second half of the file is sent only after [`Files::let_go`].
    pub(crate) fn hold(&self, name: &str, bytes: impl Into<Bytes>) -> String {
        self.shared
            .held
            .lock()
            .expect("unpoisoned")
            .insert(name.to_owned(), Arc::new(Semaphore::new(0)));
        self.put(name, bytes)
    }

    /// Answers the next `times` requests for a file with 503.
    pub(crate) fn fail(&self, name: &str, times: u32) {
        self.shared
            .busy
            .lock()
            .expect("unpoisoned")
            .insert(name.to_owned(), times);
    }

    /// Releases a held file: the server sends its second half to all clients, including those that already wait for it.
    pub(crate) fn let_go(&self, name: &str) {
        self.shared.held.lock().expect("unpoisoned")[name].add_permits(1 << 20);
    }
}

async fn file(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Response {
    let bytes = shared.files.lock().expect("unpoisoned").get(&name).cloned();
    let busy = shared
        .busy
        .lock()
        .expect("unpoisoned")
        .get_mut(&name)
        .is_some_and(|times| {
            let is_busy = *times > 0;
            *times = times.saturating_sub(1);
            is_busy
        });
    if busy {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let Some(bytes) = bytes else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let held = shared.held.lock().expect("unpoisoned").get(&name).cloned();
    let Some(held) = held else {
        let content_type = shared.types.lock().expect("unpoisoned").get(&name).cloned();
        return match content_type {
            Some(content_type) => ([(CONTENT_TYPE, content_type)], bytes).into_response(),
            None => bytes.into_response(),
        };
    };
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Bytes, Infallible>>(1);
    tokio::spawn(async move {
        let half = bytes.len() / 2;
        let _ = sender.send(Ok(bytes.slice(..half))).await;
        let permit = held.acquire().await.expect("open");
        permit.forget();
        let _ = sender.send(Ok(bytes.slice(half..))).await;
    });
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|chunk| (chunk, receiver))
    });
    Body::from_stream(stream).into_response()
}
