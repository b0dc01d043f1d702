//! Opens buckets for outputs: a store and the name of a bucket go in; a [`PartStore`] comes out.

use std::fmt::Debug;
use std::sync::Arc;

use object_store::CredentialProvider;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::client::{HttpConnector, StaticCredentialProvider};
use object_store::gcp::{GcpCredential, GoogleCloudStorageBuilder};

use super::azure::AzureBucket;
use super::calls::Calls;
use super::connect::{Connector, S3Connector, data_retries};
use super::credentials::{AZURE_HINT, ExplainedProvider, GCS_HINT, S3_HINT, unusable};
use super::gcs::GcsBucket;
use super::named::SettingsPlace;
use super::parts::PartStore;
use super::sign::{Store, check_encryption};
use crate::error::{Error, Result, Stage};

/// Opens a bucket of a store.
///
/// # Errors
/// Fails permanently, with stage config, if the settings of the store cannot be used.
pub(super) fn open(
    store: &Arc<Store>,
    place: &SettingsPlace,
    bucket: &str,
    connector: &Connector,
) -> Result<Arc<dyn PartStore>> {
    match &**store {
        Store::S3 { .. } => s3(store, place, bucket, S3Connector(connector.clone())),
        Store::Gcs { .. } => gcs(store, place, bucket, connector),
        Store::Azure { .. } => azure(store, place, bucket, connector),
    }
}

fn s3(
    store: &Store,
    place: &SettingsPlace,
    bucket: &str,
    connector: impl HttpConnector,
) -> Result<Arc<dyn PartStore>> {
    let Store::S3 {
        region,
        credentials,
        kms_key,
        ..
    } = store
    else {
        unreachable!("the store is S3");
    };
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_region(region)
        .with_retry(data_retries())
        .with_http_connector(connector)
        // With this setting, the library takes the endpoint as the URL of the bucket, as it is. So outputs have the same
        // URLs as inputs.
        .with_virtual_hosted_style_request(true)
        .with_endpoint(store.bucket_url(bucket)?)
        .with_allow_http(true);
    if let Some(key) = kms_key {
        builder = builder.with_sse_kms_encryption(key);
    }
    builder = match credentials {
        Some(provider) => builder.with_credentials(explained(provider, "S3", place.hint(S3_HINT))),
        None => builder.with_skip_signature(true),
    };
    Ok(Arc::new(builder.build().map_err(invalid)?))
}

fn gcs<C: HttpConnector + Clone>(
    store: &Arc<Store>,
    place: &SettingsPlace,
    bucket: &str,
    connector: &C,
) -> Result<Arc<dyn PartStore>> {
    let Store::Gcs {
        endpoint,
        credentials,
    } = &**store
    else {
        unreachable!("the store is Google's");
    };
    if credentials.is_some() {
        check_encryption(endpoint).map_err(|error| unencrypted(&error.about(format!("gs://{bucket}"))))?;
    }
    // The library sends a token even if it is told not to sign requests. An emulator takes any.
    let no_token = || {
        let bearer = "none".to_owned();
        Arc::new(StaticCredentialProvider::new(GcpCredential { bearer })) as _
    };
    let library = GoogleCloudStorageBuilder::new()
        .with_bucket_name(bucket)
        .with_base_url(endpoint.as_str().trim_end_matches('/'))
        .with_retry(data_retries())
        .with_http_connector(connector.clone())
        .with_skip_signature(credentials.is_none())
        .with_credentials(match credentials {
            Some(provider) => explained(provider, "Google Cloud Storage", place.hint(GCS_HINT)),
            None => no_token(),
        })
        .build()
        .map_err(invalid)?;
    let calls = Calls::new(Arc::clone(store), place.clone(), bucket.to_owned(), connector)?;
    Ok(Arc::new(GcsBucket::new(library, calls)))
}

fn azure<C: HttpConnector + Clone>(
    store: &Arc<Store>,
    place: &SettingsPlace,
    bucket: &str,
    connector: &C,
) -> Result<Arc<dyn PartStore>> {
    let Store::Azure {
        endpoint,
        account,
        credentials,
        has_key,
    } = &**store
    else {
        unreachable!("the store is Azure");
    };
    if credentials.is_some() && !has_key {
        check_encryption(endpoint).map_err(|error| unencrypted(&error.about(format!("az://{bucket}"))))?;
    }
    let mut builder = MicrosoftAzureBuilder::new()
        .with_account(account)
        .with_container_name(bucket)
        .with_endpoint(endpoint.as_str().trim_end_matches('/').to_owned())
        .with_allow_http(true)
        .with_retry(data_retries())
        .with_http_connector(connector.clone());
    builder = match credentials {
        Some(provider) => builder.with_credentials(explained(provider, "Azure", place.hint(AZURE_HINT))),
        // Without a token, the builder would look for credentials itself.
        None => builder
            .with_bearer_token_authorization("none")
            .with_skip_signature(true),
    };
    let calls = Calls::new(Arc::clone(store), place.clone(), bucket.to_owned(), connector)?;
    Ok(Arc::new(AzureBucket::new(
        builder.build().map_err(invalid)?,
        calls,
    )))
}

/// Returns a provider of the same credentials whose errors say what to do.
fn explained<C: Debug + Send + Sync + 'static>(
    provider: &Arc<dyn CredentialProvider<Credential = C>>,
    store: &'static str,
    hint: String,
) -> Arc<dyn CredentialProvider<Credential = C>> {
    Arc::new(ExplainedProvider {
        provider: Arc::clone(provider),
        store,
        hint,
    })
}

fn invalid(error: object_store::Error) -> Error {
    unusable("the settings of the store").because(error)
}

fn unencrypted(error: &Error) -> Error {
    Error::permanent(Stage::Config, error.code(), error.report_without_stage())
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use async_trait::async_trait;
    use bytes::Bytes;
    use http::Response;
    use object_store::azure::{AzureAccessKey, AzureCredential};
    use object_store::client::{
        HttpClient, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
    };
    use object_store::path::Path;
    use object_store::{ClientOptions, ObjectStoreExt, PutPayload};
    use parking_lot::Mutex;
    use reqwest::Method;
    use url::Url;

    use super::*;

    /// A server that gives prepared answers, and records the requests.
    #[derive(Debug, Clone, Default)]
    struct ScriptedServer(Arc<Script>);

    #[derive(Debug, Default)]
    struct Script {
        /// The status and the body of each answer. Without an answer, the connection is lost.
        answers: Mutex<VecDeque<Option<(u16, &'static str)>>>,
        requests: Mutex<Vec<HttpRequest>>,
    }

    impl HttpConnector for ScriptedServer {
        fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
            Ok(HttpClient::new(self.clone()))
        }
    }

    #[async_trait]
    impl HttpService for ScriptedServer {
        async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
            self.0.requests.lock().push(request);
            let answer = self.0.answers.lock().pop_front().expect("no more requests");
            let Some((status, body)) = answer else {
                let lost = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
                return Err(HttpError::new(HttpErrorKind::Interrupted, lost));
            };
            let answer = Response::builder()
                .status(status)
                .header("etag", "\"e\"")
                .header("last-modified", "Sun, 29 Nov 2026 00:00:00 GMT")
                .header("content-length", body.len());
            let body = HttpResponseBody::from(Bytes::from_static(body.as_bytes()));
            Ok(answer.body(body).unwrap())
        }
    }

    impl ScriptedServer {
        fn new(answers: &[Option<(u16, &'static str)>]) -> Self {
            let server = Self::default();
            *server.0.answers.lock() = answers.iter().copied().collect();
            server
        }

        /// Checks that each answer was asked for, and returns the requests.
        fn requests(&self) -> Vec<HttpRequest> {
            assert_eq!(self.0.answers.lock().len(), 0, "each answer is asked for");
            std::mem::take(&mut *self.0.requests.lock())
        }

        fn gcs(&self) -> Arc<dyn PartStore> {
            let store = Store::Gcs {
                endpoint: Url::parse("http://localhost:1").unwrap(),
                credentials: None,
            };
            gcs(&Arc::new(store), &SettingsPlace::Environment, "lake", self).unwrap()
        }

        fn azure(&self) -> Arc<dyn PartStore> {
            let key = AzureAccessKey::try_new("c2VjcmV0").unwrap();
            let credential = AzureCredential::AccessKey(key);
            let store = Store::Azure {
                endpoint: Url::parse("http://localhost:1/account").unwrap(),
                account: "account".to_owned(),
                credentials: Some(Arc::new(StaticCredentialProvider::new(credential))),
                has_key: true,
            };
            azure(&Arc::new(store), &SettingsPlace::Environment, "lake", self).unwrap()
        }
    }

    #[tokio::test]
    async fn outputs_at_s3_have_the_urls_of_inputs() {
        for (endpoint, region, is_path_style) in [
            (None, "eu-central-1", None),
            (None, "eu-central-1", Some(true)),
            (None, "cn-north-1", None),
            (None, "cn-north-1", Some(true)),
            (Some("http://127.0.0.1:9000"), "us-east-1", None),
            (Some("http://127.0.0.1:9000"), "us-east-1", Some(false)),
            (Some("https://store.example:9000/"), "us-east-1", Some(false)),
            (Some("https://store.example/base"), "us-east-1", Some(true)),
        ] {
            for bucket in ["lake", "my.lake"] {
                let store = Store::S3 {
                    endpoint: endpoint.map(|url| Url::parse(url).unwrap()),
                    region: region.to_owned(),
                    credentials: None,
                    is_path_style,
                    kms_key: None,
                };
                let server = ScriptedServer::new(&[ABSENT]);
                let opened = s3(&store, &SettingsPlace::Environment, bucket, server.clone()).unwrap();
                opened
                    .objects()
                    .head(&Path::from("out/q/a b.csv"))
                    .await
                    .unwrap_err();
                let [head] = server.requests().try_into().unwrap();
                assert_eq!(
                    head.uri().to_string(),
                    store.key_url(bucket, "out/q/a b.csv").unwrap()
                );
            }
        }
    }

    const ABSENT: Option<(u16, &str)> = Some((404, ""));
    const COMPLETED: Option<(u16, &str)> = Some((
        200,
        "<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>",
    ));

    fn parts() -> Vec<String> {
        vec!["\"a\"".to_owned(), "b".to_owned()]
    }

    async fn complete(store: &dyn PartStore, parts: &[String]) -> object_store::Result<()> {
        let key = Path::from("out/q/a b.csv");
        store.complete_upload(&key, "u/1", "nonce", parts).await
    }

    #[tokio::test]
    async fn google_completes_an_upload_without_a_condition() {
        let server = ScriptedServer::new(&[ABSENT, COMPLETED]);
        complete(&*server.gcs(), &parts()).await.unwrap();
        let [look, complete] = server.requests().try_into().unwrap();
        assert_eq!(look.method(), Method::HEAD);
        assert_eq!(complete.method(), Method::POST);
        assert_eq!(
            complete.uri(),
            "http://localhost:1/lake/out/q/a%20b.csv?uploadId=u%2F1"
        );
        // Google refuses a request that completes an upload on a condition.
        for condition in ["if-none-match", "x-goog-if-generation-match"] {
            assert!(!complete.headers().contains_key(condition), "{condition}");
        }
        let body = String::from_utf8(complete.body().as_bytes().unwrap().to_vec()).unwrap();
        let first = "<Part><PartNumber>1</PartNumber><ETag>&quot;a&quot;</ETag></Part>";
        assert!(
            body.contains(first) && body.contains("<PartNumber>2</PartNumber>"),
            "{body}"
        );
    }

    #[tokio::test]
    async fn google_replaces_no_object_that_exists() {
        let server = ScriptedServer::new(&[Some((200, ""))]);
        let error = complete(&*server.gcs(), &parts()).await.unwrap_err();
        assert!(
            matches!(error, object_store::Error::AlreadyExists { .. }),
            "{error}"
        );
        assert_eq!(server.requests().len(), 1);
    }

    #[tokio::test]
    async fn an_answer_of_google_says_whether_the_upload_is_gone() {
        let gone = "<Error><Code>NoSuchUpload</Code></Error>";
        let lost = "<Error><Code>InvalidPart</Code></Error>";
        let odd = "<Error><Code>InternalError</Code></Error>";
        let is_gone = |answers: Vec<_>| async move {
            let server = ScriptedServer::new(&answers);
            let result = complete(&*server.gcs(), &parts()).await;
            server.requests();
            result.map_err(|error| matches!(error, object_store::Error::NotFound { .. }))
        };
        assert_eq!(is_gone(vec![ABSENT, Some((404, gone))]).await, Err(true));
        assert_eq!(is_gone(vec![ABSENT, Some((400, lost))]).await, Err(true));
        assert_eq!(is_gone(vec![ABSENT, Some((400, odd))]).await, Err(false));
        assert_eq!(is_gone(vec![ABSENT, Some((403, odd))]).await, Err(false));
        // A status of success alone says nothing.
        assert_eq!(is_gone(vec![ABSENT, Some((200, odd))]).await, Err(false));
        // The call is made again if it may have had an effect, or if the store is busy.
        for again in [None, Some((500, "")), Some((503, odd)), Some((429, ""))] {
            assert_eq!(is_gone(vec![ABSENT, again, again, COMPLETED]).await, Ok(()));
            assert_eq!(is_gone(vec![ABSENT, again, Some((404, gone))]).await, Err(true));
        }
    }

    #[tokio::test]
    async fn an_empty_object_of_google_is_created_on_a_condition() {
        let server = ScriptedServer::new(&[Some((200, "")), Some((204, ""))]);
        let store = server.gcs();
        let key = Path::from("out/q/a.jsonl");
        let part = store.upload_part(&key, "u", 0, PutPayload::new()).await.unwrap();
        complete(&*store, &[part]).await.unwrap();
        let [create, abort] = server.requests().try_into().unwrap();
        assert_eq!(create.headers()["x-goog-if-generation-match"], "0");
        assert_eq!(create.headers()["x-goog-meta-ingest-upload"], "nonce");
        assert_eq!(abort.method(), Method::DELETE);
    }

    #[tokio::test]
    async fn azure_makes_a_blob_of_the_blocks_if_there_is_none() {
        let server = ScriptedServer::new(&[Some((201, ""))]);
        complete(&*server.azure(), &parts()).await.unwrap();
        let [list] = server.requests().try_into().unwrap();
        assert_eq!(list.method(), Method::PUT);
        assert_eq!(
            list.uri(),
            "http://localhost:1/account/lake/out/q/a%20b.csv?comp=blocklist"
        );
        assert_eq!(list.headers()["if-none-match"], "*");
        assert_eq!(list.headers()["x-ms-meta-ingest_upload"], "nonce");
        assert!(list.headers()["authorization"].is_sensitive());
        let body = String::from_utf8(list.body().as_bytes().unwrap().to_vec()).unwrap();
        assert!(body.contains("<Uncommitted>Yg==</Uncommitted>"), "{body}");
    }

    #[tokio::test]
    async fn an_answer_of_azure_says_whether_a_block_is_gone() {
        #[derive(Debug, PartialEq)]
        enum Refusal {
            Gone,
            Exists,
            Other,
        }
        let error = |code| match code {
            "InvalidBlockList" => "<Error><Code>InvalidBlockList</Code></Error>",
            "BlobAlreadyExists" => "<Error><Code>BlobAlreadyExists</Code></Error>",
            "ContainerNotFound" => "<Error><Code>ContainerNotFound</Code></Error>",
            _ => "<Error><Code>ContainerBeingDeleted</Code></Error>",
        };
        let refusal = |answers: Vec<_>| async move {
            let server = ScriptedServer::new(&answers);
            let result = complete(&*server.azure(), &parts()).await;
            server.requests();
            match result {
                Ok(()) => None,
                Err(object_store::Error::NotFound { .. }) => Some(Refusal::Gone),
                Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                    Some(Refusal::Exists)
                }
                Err(_) => Some(Refusal::Other),
            }
        };
        for (status, code, expected) in [
            (400, "InvalidBlockList", Refusal::Gone),
            (409, "BlobAlreadyExists", Refusal::Exists),
            (412, "", Refusal::Exists),
            // No block is missing.
            (404, "ContainerNotFound", Refusal::Other),
            (409, "", Refusal::Other),
            (403, "", Refusal::Other),
        ] {
            assert_eq!(refusal(vec![Some((status, error(code)))]).await, Some(expected));
        }
        for again in [None, Some((500, "")), Some((503, ""))] {
            assert_eq!(refusal(vec![again, Some((201, ""))]).await, None);
            let exists = Some((409, error("BlobAlreadyExists")));
            assert_eq!(refusal(vec![again, exists]).await, Some(Refusal::Exists));
        }
    }

    #[tokio::test]
    async fn an_empty_blob_of_azure_has_an_empty_list() {
        let server = ScriptedServer::new(&[Some((201, ""))]);
        let store = server.azure();
        let key = Path::from("out/q/a.jsonl");
        let part = store.upload_part(&key, "u", 0, PutPayload::new()).await.unwrap();
        complete(&*store, &[part]).await.unwrap();
        let [list] = server.requests().try_into().unwrap();
        let body = String::from_utf8(list.body().as_bytes().unwrap().to_vec()).unwrap();
        assert!(body.ends_with("<BlockList></BlockList>"), "{body}");
    }

    #[test]
    fn a_token_is_not_sent_without_encryption() {
        let store = Store::Azure {
            endpoint: Url::parse("http://10.0.0.5/account").unwrap(),
            account: "account".to_owned(),
            credentials: Some(Arc::new(StaticCredentialProvider::new(
                AzureCredential::BearerToken("t0ken".to_owned()),
            ))),
            has_key: false,
        };
        let opened = azure(
            &Arc::new(store),
            &SettingsPlace::Environment,
            "lake",
            &ScriptedServer::default(),
        );
        let error = opened.err().expect("the endpoint is http:");
        assert!(
            error.report().contains("without encryption"),
            "{}",
            error.report()
        );
    }
}
