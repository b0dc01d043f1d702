//! Parses the tables of object stores, `[stores.NAME]`: TOML goes in; the settings of each store come out, or faults.
//! Secrets are not among them, only the names of variables and files that have them.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use url::Url;

use super::toml_text::{as_key, kind, nearest, position};
use super::{Fault, Setting};
use crate::location::{ObjectPrefix, Provider};

/// The maximum number of characters of a store's name.
const NAME_CHARS_MAX: usize = 64;

/// The ends of the keys that say where a secret is.
pub(in crate::cli) const VARIABLE: &str = "-variable";
pub(in crate::cli) const FILE: &str = "-file";

/// The settings of a store, by their keys. The keys `kind` and `buckets` are among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct StoreTable {
    pub(in crate::cli) provider: Provider,
    pub(in crate::cli) settings: BTreeMap<String, Setting>,
}

impl StoreTable {
    /// Returns the value of a setting.
    pub(in crate::cli) fn text(&self, key: &str) -> Option<&str> {
        Some(self.settings.get(key)?.values.first()?)
    }

    /// Returns the buckets.
    pub(in crate::cli) fn buckets(&self) -> &[String] {
        self.settings.get(BUCKETS).map_or(&[], |setting| &setting.values)
    }

    /// Returns the settings in the order in which they are shown.
    pub(in crate::cli) fn in_order(&self) -> impl Iterator<Item = (&'static str, &Setting)> {
        let keys = KEYS.iter().map(|key| key.name);
        keys.filter_map(|key| Some((key, self.settings.get(key)?)))
    }

    /// Returns whether the store has credentials of its own, or uses none.
    pub(in crate::cli) fn has_credentials(&self) -> bool {
        let is_set = |key: &Key| self.text(key.name).is_some_and(|value| value != "false");
        KEYS.iter().filter(|key| key.credentials.is_some()).any(is_set)
    }
}

/// The form of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Kind,
    Buckets,
    Boolean,
    Url,
    Text,
    /// Letters, digits, `-` and `_`.
    Word,
    /// The name of a variable.
    Variable,
}

/// A key of a store's table.
struct Key {
    name: &'static str,
    /// The kinds of stores that have it.
    providers: &'static [Provider],
    form: Form,
    /// The kind of credentials that it belongs to. A store has one kind of credentials.
    credentials: Option<&'static str>,
}

const fn key(name: &'static str, providers: &'static [Provider], form: Form) -> Key {
    Key {
        name,
        providers,
        form,
        credentials: None,
    }
}

const fn of(credentials: &'static str, mut key: Key) -> Key {
    key.credentials = Some(credentials);
    key
}

const KIND: &str = "kind";
const BUCKETS: &str = "buckets";

const ALL: &[Provider] = &Provider::ALL;
const S3: &[Provider] = &[Provider::S3];
const AZURE: &[Provider] = &[Provider::Azure];

/// The keys, in the order in which they are shown.
const KEYS: [Key; 27] = [
    key(KIND, ALL, Form::Kind),
    key(BUCKETS, ALL, Form::Buckets),
    key("endpoint", ALL, Form::Url),
    key("region", S3, Form::Word),
    key("path-style", S3, Form::Boolean),
    key("kms-key", S3, Form::Text),
    key("account", AZURE, Form::Word),
    of("unsigned", key("unsigned", ALL, Form::Boolean)),
    of("keys", key("access-key-id-variable", S3, Form::Variable)),
    of("keys", key("access-key-id-file", S3, Form::Text)),
    of("keys", key("secret-access-key-variable", S3, Form::Variable)),
    of("keys", key("secret-access-key-file", S3, Form::Text)),
    of("keys", key("session-token-variable", S3, Form::Variable)),
    of("keys", key("session-token-file", S3, Form::Text)),
    of("profile", key("profile", S3, Form::Text)),
    of(
        "profile",
        key("credentials-file", &[Provider::S3, Provider::Gcs], Form::Text),
    ),
    of("role", key("role-arn", S3, Form::Text)),
    of("role", key("web-identity-token-file", S3, Form::Text)),
    of("account-key", key("account-key-variable", AZURE, Form::Variable)),
    of("account-key", key("account-key-file", AZURE, Form::Text)),
    of("sas-token", key("sas-token-variable", AZURE, Form::Variable)),
    of("sas-token", key("sas-token-file", AZURE, Form::Text)),
    of("identity", key("tenant-id", AZURE, Form::Text)),
    of("identity", key("client-id", AZURE, Form::Text)),
    of("identity", key("client-secret-variable", AZURE, Form::Variable)),
    of("identity", key("client-secret-file", AZURE, Form::Text)),
    of("identity", key("federated-token-file", AZURE, Form::Text)),
];

/// The words that keys for secrets have in this program and in others.
const SECRETS: [&str; 7] = [
    "secret",
    "password",
    "token",
    "access-key",
    "account-key",
    "sas-",
    "connection-string",
];

/// Settings that have no effect without another one. The end of a key that names a secret is left out.
const NEEDED: [(&str, &str); 8] = [
    ("access-key-id", "secret-access-key"),
    ("secret-access-key", "access-key-id"),
    ("session-token", "access-key-id"),
    ("role-arn", "web-identity-token-file"),
    ("web-identity-token-file", "role-arn"),
    ("tenant-id", "client-id"),
    ("client-secret", "tenant-id"),
    ("federated-token-file", "tenant-id"),
];

/// Parses the table of stores.
pub(super) fn parse(value: &Spanned<DeValue<'_>>, text: &str) -> (BTreeMap<String, StoreTable>, Vec<Fault>) {
    let (mut stores, mut parser) = (
        BTreeMap::new(),
        Parser {
            text,
            faults: Vec::new(),
        },
    );
    let DeValue::Table(tables) = value.get_ref() else {
        let what = format!(
            "`stores`: expected a table for each store, as in [stores.NAME], found {}; only the table of a queue has a list of \
             names here",
            kind(value.get_ref())
        );
        parser.fault(value.span(), what);
        return (stores, parser.faults);
    };
    for (name, value) in tables {
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let text: &str = name.get_ref();
        if text.is_empty() || text.len() > NAME_CHARS_MAX || !text.chars().all(is_name) {
            let what =
                format!("the name of a store has 1 to {NAME_CHARS_MAX} ASCII letters, digits, - and _");
            parser.fault(name.span(), what);
            continue;
        }
        let DeValue::Table(table) = value.get_ref() else {
            let found = kind(value.get_ref());
            let what = format!("expected a table with the settings of a store, found {found}");
            parser.fault(value.span(), what);
            continue;
        };
        if let Some(store) = parser.store(name.span(), table) {
            stores.insert(text.to_owned(), store);
        }
    }
    (stores, parser.faults)
}

struct Parser<'a> {
    text: &'a str,
    faults: Vec<Fault>,
}

impl Parser<'_> {
    fn fault(&mut self, span: Range<usize>, message: String) {
        let at = position(self.text, span.start);
        self.faults.push(Fault { at, message });
    }

    /// Returns the settings of a store; none if it has no kind, without which its keys cannot be checked.
    fn store(&mut self, name: Range<usize>, table: &DeTable<'_>) -> Option<StoreTable> {
        let kind_of_store = table.iter().find(|(key, _)| &**key.get_ref() == KIND);
        let provider = match kind_of_store.map(|(_, value)| (value, value.get_ref())) {
            None => {
                let what = "`kind` is missing: write kind = \"s3\", \"gs\" or \"az\"";
                self.fault(name, what.to_owned());
                return None;
            }
            Some((value, DeValue::String(text))) => Provider::of_scheme(text).ok_or(value),
            Some((value, _)) => Err(value),
        };
        let provider = match provider {
            Ok(provider) => provider,
            Err(value) => {
                let what = "`kind`: expected \"s3\", \"gs\" or \"az\", as in the URIs of the store";
                self.fault(value.span(), what.to_owned());
                return None;
            }
        };
        let mut store = StoreTable {
            provider,
            settings: BTreeMap::new(),
        };
        for (name, value) in table {
            let text: &str = name.get_ref();
            let Some(key) = KEYS.iter().find(|key| key.name == text) else {
                self.fault(name.span(), unknown(text, provider));
                continue;
            };
            if !key.providers.contains(&provider) {
                let what = format!(
                    "`{text}` is no setting of a store of the kind {}",
                    provider.scheme()
                );
                self.fault(name.span(), what);
                continue;
            }
            match values(key, provider, value) {
                Ok(values) => {
                    let at = position(self.text, name.span().start);
                    store.settings.insert(text.to_owned(), Setting { values, at });
                }
                Err((span, why)) => self.fault(span, format!("`{text}`: {why}")),
            }
        }
        self.check(
            name,
            &store,
            table.iter().any(|(key, _)| &**key.get_ref() == BUCKETS),
        );
        Some(store)
    }

    /// Finds settings that are missing, or contradict each other.
    fn check(&mut self, name: Range<usize>, store: &StoreTable, has_buckets: bool) {
        if !has_buckets {
            let what = "`buckets` is missing: a store is used for the buckets that it lists, as in buckets = [\"lake\"]";
            self.fault(name.clone(), what.to_owned());
        }
        if store.provider == Provider::Azure && !store.settings.contains_key("account") {
            self.fault(
                name,
                "`account` is missing: a store of the kind az is an account".to_owned(),
            );
        }
        let mut faults = Vec::new();
        let settings = || {
            store
                .settings
                .iter()
                .filter(|(_, setting)| setting.values != ["false"])
        };
        let mut credentials: Option<(&str, &str)> = None;
        for (name, setting) in settings() {
            let at = setting.at;
            if let Some(base) = name.strip_suffix(FILE)
                && store.settings.contains_key(&format!("{base}{VARIABLE}"))
            {
                let message = format!("`{name}` cannot be used with `{base}{VARIABLE}`");
                faults.push(Fault { at, message });
            }
            let base = base(name);
            for (_, needed) in NEEDED.iter().filter(|(needing, _)| *needing == base) {
                if !settings().any(|(other, _)| self::base(other) == *needed) {
                    let end = if is_secret(needed) { VARIABLE } else { "" };
                    let message = format!("`{name}` has no effect without `{needed}{end}`");
                    faults.push(Fault { at, message });
                }
            }
            let key = KEYS.iter().find(|key| key.name == name);
            let Some(of) = key.and_then(|key| key.credentials) else {
                continue;
            };
            match credentials {
                Some((other, other_name)) if other != of => {
                    let message = format!(
                        "`{name}` cannot be used with `{other_name}`: a store has one kind of credentials"
                    );
                    faults.push(Fault { at, message });
                }
                _ => credentials = Some((of, name)),
            }
        }
        self.faults.extend(faults);
    }
}

/// Returns a key without the end that says where a secret is.
fn base(key: &str) -> &str {
    let stem = key.strip_suffix(VARIABLE).or_else(|| key.strip_suffix(FILE));
    stem.filter(|stem| is_secret(stem)).unwrap_or(key)
}

/// Returns whether a secret has this name, so that a variable or a file has it.
fn is_secret(base: &str) -> bool {
    KEYS.iter()
        .any(|key| key.name.strip_suffix(VARIABLE) == Some(base))
}

/// Returns the fault for a key that no store has. Does not quote its value, which may be a secret.
fn unknown(name: &str, provider: Provider) -> String {
    let meant = as_key(name);
    let is_named = meant.ends_with(VARIABLE) || meant.ends_with(FILE);
    if !is_named && SECRETS.iter().any(|word| meant.contains(word)) {
        let of_store = KEYS.iter().filter(|key| key.providers.contains(&provider));
        let secrets = of_store.filter_map(|key| key.name.strip_suffix(VARIABLE));
        let instead = match nearest(secrets, &meant) {
            Some(base) => format!("`{base}{VARIABLE}` or `{base}{FILE}`"),
            None => format!("a key that ends with {VARIABLE} or {FILE}"),
        };
        return format!(
            "`{name}`: a secret must not be in this file: name the variable or the file that has it with {instead}"
        );
    }
    let names = KEYS.iter().filter(|key| key.providers.contains(&provider));
    let near = nearest(names.map(|key| key.name), &meant);
    let hint = near.map_or(String::new(), |near| format!(", did you mean `{near}`?"));
    format!("unknown key \"{name}\"{hint}")
}

/// Returns the values of a setting, or the reason why they are wrong, with its place. The reason does not quote values
/// that may be secrets.
fn values(
    key: &Key,
    provider: Provider,
    value: &Spanned<DeValue<'_>>,
) -> Result<Vec<String>, (Range<usize>, String)> {
    let wrong = |value: &Spanned<DeValue<'_>>, expected: &str| {
        let found = kind(value.get_ref());
        (value.span(), format!("expected {expected}, found {found}"))
    };
    let text = match (key.form, value.get_ref()) {
        (Form::Buckets, DeValue::Array(list)) => {
            let buckets = list.iter().map(|value| match value.get_ref() {
                DeValue::String(bucket) => check_bucket(provider, bucket).map_err(|why| (value.span(), why)),
                _ => Err(wrong(value, "the name of a bucket")),
            });
            let buckets = buckets.collect::<Result<Vec<_>, _>>()?;
            return match buckets.is_empty() {
                true => Err((
                    value.span(),
                    "is empty: list the buckets that the store is used for".into(),
                )),
                false => Ok(buckets),
            };
        }
        (Form::Buckets, _) => return Err(wrong(value, "a list, as in buckets = [\"lake\"]")),
        (Form::Boolean, DeValue::Boolean(value)) => return Ok(vec![value.to_string()]),
        (Form::Boolean, _) => return Err(wrong(value, "true or false")),
        (_, DeValue::String(text)) => &**text,
        (_, _) => return Err(wrong(value, "a string")),
    };
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let refused = match key.form {
        Form::Url if !is_endpoint(text) => {
            "is not the URL of a server: write https://HOST or http://HOST:PORT"
        }
        Form::Word if text.is_empty() || !text.chars().all(is_word) => "has letters, digits, - and _ only",
        Form::Variable
            if text.starts_with(|c: char| c.is_ascii_digit())
                || text.is_empty()
                || text.contains(|c: char| !is_word(c) || c == '-') =>
        {
            "is not the name of a variable, which has letters, digits and _ only; a secret must not be in this file"
        }
        _ if text.is_empty() => "is empty",
        _ => return Ok(vec![text.to_owned()]),
    };
    Err((value.span(), refused.into()))
}

fn check_bucket(provider: Provider, bucket: &str) -> Result<String, String> {
    let scheme = provider.scheme();
    match ObjectPrefix::parse(&format!("{scheme}://{bucket}")) {
        Ok(parsed) if parsed.bucket == bucket => Ok(parsed.bucket),
        Ok(_) => Err("expected the name of a bucket only: `allow-bucket` can have a prefix".into()),
        Err(_) => Err(format!("expected the name of a bucket, without {scheme}://")),
    }
}

/// Returns whether a text is the URL of a server, without credentials.
fn is_endpoint(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    })
}
