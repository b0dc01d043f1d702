//! Lists objects: a prefix goes in; the objects below it come out, one page of the store at a time.
//!
//! The library `object_store` is not used for this: its list refuses keys with empty parts, drops the slash at the end
//! of a key, and does not return the generation of an object of Google.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use object_store::client::{HttpClient, HttpRequest, HttpRequestBody, HttpResponseBody};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::HeaderMap;
use tokio::runtime::Handle;
use url::Url;

use super::ObjectStores;
use super::list_page::{Page, PageObject};
use super::named::SettingsPlace;
use super::refusal::{Asked, CallRefusal, ERROR_BYTES_MAX};
use super::sign::Store;
use crate::error::{Class, Code, Error, Result, Stage};
use crate::location::{ObjectUri, Provider, redact};

/// The maximum size of a page, in bytes. A page has at most 1,000 objects (Azure: 5,000), whose keys have at most 1,024
/// bytes.
pub(super) const PAGE_BYTES_MAX: usize = 32 << 20;

/// The pauses before a page is asked for again, after a failure that may pass.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
];

/// The objects to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedPrefix {
    /// The kind of store.
    pub provider: Provider,
    /// The bucket; on Azure, the container.
    pub bucket: String,
    /// The beginning of the keys. It need not end with a slash.
    pub prefix: String,
    /// Set if only objects without another slash behind the prefix are listed.
    pub is_flat: bool,
}

/// An object that a list has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundObject {
    /// The object, without a version.
    pub uri: ObjectUri,
    /// The length in bytes.
    pub bytes: u64,
    /// The entity tag, with its quotes.
    pub etag: Option<String>,
    /// The generation of an object of Google.
    pub generation: Option<String>,
}

/// A list of objects, which is fetched page by page.
pub struct ObjectList {
    place: ListedPrefix,
    /// The URI of the prefix, for people.
    shown: String,
    store: Arc<Store>,
    settings: SettingsPlace,
    http: HttpClient,
    runtime: Handle,
    next: NextPage,
}

#[derive(Debug, PartialEq, Eq)]
enum NextPage {
    First,
    At(String),
    None,
}

impl ObjectStores {
    /// Begins to list objects. The requests are sent by [`ObjectList::next_page`], and run on `runtime`.
    ///
    /// # Errors
    /// Fails permanently, with stage config, if no store may be used for the bucket, or its settings cannot be used.
    pub fn list(&self, place: &ListedPrefix, runtime: Handle) -> Result<ObjectList> {
        let (store, settings) = self.store(place.provider, &place.bucket)?;
        let ListedPrefix {
            provider,
            bucket,
            prefix,
            ..
        } = place;
        Ok(ObjectList {
            shown: redact(&format!("{}://{bucket}/{prefix}", provider.scheme())),
            place: place.clone(),
            store,
            settings,
            http: HttpClient::new(self.environment.data.clone()),
            runtime,
            next: NextPage::First,
        })
    }
}

impl ObjectList {
    /// Returns the objects of the next page, in the order of the store, or `None` after the last page. A page may be
    /// empty. Markers of folders are left out: objects without bytes whose key ends with a slash. Blocks, so it must
    /// not be called within an async task.
    ///
    /// # Errors
    /// Fails with stage fetch: permanently if there is no such bucket, a right is missing, or the store does not accept
    /// the credentials; transiently if the store does not give the page after several tries. Asks for the same page
    /// when it is called again.
    pub fn next_page(&mut self) -> Result<Option<Vec<FoundObject>>> {
        let token = match &self.next {
            NextPage::First => None,
            NextPage::At(token) => Some(token.clone()),
            NextPage::None => return Ok(None),
        };
        let page = self.runtime.block_on(self.page(token.as_deref()))?;
        self.next = match page.next {
            None => NextPage::None,
            next if next == token => return Err(self.unreadable("it names itself as the next page")),
            Some(next) => NextPage::At(next),
        };
        let objects = page.objects.into_iter();
        Ok(Some(objects.filter_map(|object| self.found(object)).collect()))
    }

    fn found(&self, object: PageObject) -> Option<FoundObject> {
        let PageObject {
            key,
            bytes,
            etag,
            generation,
            is_folder,
        } = object;
        let is_marker = is_folder || (bytes == 0 && key.ends_with('/'));
        (!is_marker).then(|| FoundObject {
            uri: ObjectUri {
                provider: self.place.provider,
                bucket: self.place.bucket.clone(),
                key,
                version: None,
            },
            bytes,
            // Azure leaves the quotes out.
            etag: etag.map(|etag| match etag.ends_with('"') {
                true => etag,
                false => format!("\"{etag}\""),
            }),
            generation,
        })
    }

    /// Fetches a page. Asks again after failures that may pass.
    async fn page(&self, token: Option<&str>) -> Result<Page> {
        for pause in PAUSES {
            match self.ask(token).await {
                Err(error) if error.class() == Class::Transient => {
                    tracing::debug!(error = error.report(), "a page of a list is asked for again");
                    tokio::time::sleep(pause).await;
                }
                answer => return answer,
            }
        }
        self.ask(token).await
    }

    async fn ask(&self, token: Option<&str>) -> Result<Page> {
        let (url, headers) = self
            .store
            .sign(&self.url(token)?, HeaderMap::new(), &self.settings)
            .await
            .map_err(|error| error.about(&self.shown))?;
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        let refused = |_| {
            self.failed(
                Class::Permanent,
                Code::AddressInvalid,
                "is not a valid request URL",
            )
        };
        *request.uri_mut() = url.as_str().parse().map_err(refused)?;
        *request.headers_mut() = headers;
        let broken = |why: &str| self.failed(Class::Transient, Code::TransferBroken, why);
        let answer = self.http.execute(request).await;
        let asked = Asked {
            shown: &self.shown,
            provider: self.place.provider,
            bucket: &self.place.bucket,
            place: &self.settings,
            object: None,
        };
        let answer = answer.map_err(|error| match CallRefusal::cause_of(&error) {
            Some(refusal) => asked.refused(refusal.status, &HeaderMap::new(), refusal.body().as_bytes()),
            None => {
                let what = "the store cannot be reached";
                self.failed(Class::Transient, Code::HostUnreachable, what)
                    .because(error)
            }
        })?;
        let (head, body) = answer.into_parts();
        if !head.status.is_success() {
            let body = read(body, ERROR_BYTES_MAX).await.unwrap_or_default();
            return Err(asked.refused(head.status, &head.headers, &body));
        }
        let body = read(body, PAGE_BYTES_MAX)
            .await
            .map_err(|error| broken("a page of the list broke off").because(error))?;
        Page::parse(self.place.provider, &body).map_err(|why| self.unreadable(&why))
    }

    fn url(&self, token: Option<&str>) -> Result<Url> {
        let ListedPrefix {
            provider,
            bucket,
            prefix,
            is_flat,
        } = &self.place;
        let (fixed, of_token) = match provider {
            Provider::S3 | Provider::Gcs => ("list-type=2", "continuation-token"),
            Provider::Azure => ("restype=container&comp=list", "marker"),
        };
        let mut text = format!("{}?{fixed}", self.store.bucket_url(bucket)?);
        let delimiter = is_flat.then_some("/");
        for (name, value) in [
            ("prefix", Some(&**prefix)),
            ("delimiter", delimiter),
            (of_token, token),
        ] {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                text += &format!("&{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC));
            }
        }
        let refused = |error: url::ParseError| {
            self.failed(
                Class::Permanent,
                Code::AddressInvalid,
                "is not a valid request URL",
            )
            .because(error)
        };
        Url::parse(&text).map_err(refused)
    }

    fn unreadable(&self, why: &str) -> Error {
        let what = format!("the store's list of its objects cannot be read: {why}");
        self.failed(Class::Transient, Code::TransferBroken, &what)
    }

    fn failed(&self, class: Class, code: Code, what: &str) -> Error {
        Error::new(Stage::Fetch, class, code, format!("{}: {what}", self.shown))
    }
}

async fn read(body: HttpResponseBody, bytes_max: usize) -> Result<Bytes, String> {
    let collected = Limited::new(body, bytes_max).collect().await;
    Ok(collected.map_err(|error| error.to_string())?.to_bytes())
}
