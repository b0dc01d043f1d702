//! Tests redaction: URIs and texts with secrets go in; the same URIs and texts without the secrets come out.

use proptest::prelude::*;

use super::*;

const SECRET: &str = "S3cr3t";

#[test]
fn credentials_are_not_shown() {
    for (uri, shown) in [
        ("http://me:pw@example.com/a.csv#part", "http://example.com/a.csv"),
        (
            "https://b.example/k?X-Amz-Signature=ab12&part=1&X%2DAmz-Credential=c",
            "https://b.example/k?X-Amz-Signature=***&part=1&X%2DAmz-Credential=***",
        ),
        (
            "https://b.example/k?sv=1&sig=ab%2F",
            "https://b.example/k?sv=1&sig=***",
        ),
        (
            "https://b.example/k?Subscription-Key=a&monkey=b&api_key=c&x-functions-key=d&page=2",
            "https://b.example/k?Subscription-Key=***&monkey=b&api_key=***&x-functions-key=***&page=2",
        ),
        (
            "https://b.example/k?code=a&zipcode=b&SESSIONID=c&jwt=d&AccessKeyId=e",
            "https://b.example/k?code=***&zipcode=b&SESSIONID=***&jwt=***&AccessKeyId=***",
        ),
        ("http://me:p@w@[::zz]/x?token=1", "http://[::zz]/x"),
        ("s3://id:key@bucket/a.csv", "s3://bucket/a.csv"),
        (
            "s3://bucket/day=5/a@b.csv?versionId=1",
            "s3://bucket/day=5/a@b.csv?versionId=1",
        ),
        (
            "s3://bucket/k?X-Amz-Signature=S3cr3t",
            "s3://bucket/k?X-Amz-Signature=***",
        ),
        ("a@b.csv", "a@b.csv"),
        ("http://example.com", "http://example.com"),
        ("/data/session=5/a.csv", "/data/session=5/a.csv"),
        ("file:///data/key=5/a@b.csv", "file:///data/key=5/a@b.csv"),
        // In these cases, one URI is within another URI, percent-encoded or not.
        (
            "https://h/?url=http://i/?token=S3cr3t",
            "https://h/?url=http://i/?token=***",
        ),
        (
            "https://h/?url=http%3A%2F%2Fi%2F%3Ftoken%3DS3cr3t&a=1",
            "https://h/?url=***&a=1",
        ),
        (
            "https://h/?url=http%253A%252F%252Fu%253AS3cr3t%2540i&a=1",
            "https://h/?url=***&a=1",
        ),
        (
            "https://h/?url=http%3A%2F%2Fi%2F%3Fpage%3D1",
            "https://h/?url=http%3A%2F%2Fi%2F%3Fpage%3D1",
        ),
        ("https://h/http%3A%2F%2Fu:S3cr3t%40i/x", "https://h/***"),
        ("jdbc:http://u:S3cr3t@h/x", "jdbc:http://h/x"),
        ("jdbc:oracle:thin:scott/S3cr3t@//h:1521/x", "jdbc://h:1521/x"),
        (
            "view-source:https://h/?sig=S3cr3t",
            "view-source:https://h/?sig=***",
        ),
        ("s3:u:S3cr3t@h/x", "s3:h/x"),
        // In these cases, the secrets are in parts of a path, or in a text that is not a URL.
        (
            "https://h/a;token=S3cr3t/b;v=1?page=2",
            "https://h/a;token=***/b;v=1?page=2",
        ),
        ("https://h/token=S3cr3t/b", "https://h/token=***/b"),
        ("https://h/?sig=S3cr3t/b;c=d", "https://h/?sig=***;c=d"),
        ("h/a.csv?token=S3cr3t", "h/a.csv?token=***"),
        (" http://u:S3cr3t@h/a", " http://h/a"),
        ("https://h/x?u=me:S3cr3t@i", "https://h/x?u=***@i"),
        ("https://h/x?u=me:S3c/r3t@i&b=1", "https://h/x?u=***@i&b=1"),
        ("https://h/x?me:S3cr3t@i", "https://h/x?***@i"),
        ("https://h/x?u=me%3AS3cr3t%40i", "https://h/x?u=***"),
        ("https://h/10:30/a@b?t=10:30", "https://h/10:30/a@b?t=10:30"),
        ("s3://bucket/k?u=a@b", "s3://bucket/k?u=a@b"),
        ("//u:S3cr3t@h/a", "//h/a"),
        // In these cases, the URI is malformed. An invalid port could be a password.
        ("http://u:S3cr3t", "http://***"),
        ("http://u:S3cr3t%40h/a", "http://***/a"),
        ("http://u:a/S3cr3t@h/a", "http://h/a"),
        ("http://u:a?S3cr3t@h/a", "http://h/a"),
        ("http://u:S3cr3t@h:x/a", "http://***/a"),
        ("http://[::1/a.csv?sig=S3cr3t", "http://[::1/a.csv"),
    ] {
        assert_eq!(redact(uri), shown);
        assert_eq!(redact(shown), shown, "what is shown has nothing to hide");
    }
}

#[test]
fn the_status_of_an_answer_is_no_code_that_grants_access() {
    for (text, shown) in [
        (
            "Server returned status code: 404",
            "Server returned status code: 404",
        ),
        ("status code: 404, see the log", "status code: 404, see the log"),
        ("{\"code\": 404}", "{\"code\": 404}"),
        ("code: 4041", "code: ***"),
        ("code: 404-77", "code: ***"),
        ("code: S3cr3t", "code: ***"),
        ("pin: 404", "pin: ***"),
    ] {
        assert_eq!(redact_within(text), shown);
    }
}

#[test]
fn marks_around_a_name_do_not_show_its_value() {
    let around = [
        ("\"", "\""),
        ("'", "'"),
        ("`", "`"),
        ("<", ">"),
        ("|", "|"),
        ("{", "}"),
        ("(", ")"),
        ("[", "]"),
        ("\\\"", "\\\""),
        ("x=\"", "\""),
        ("", ","),
        ("^", "^"),
        ("((", "))"),
        ("%22", "%22"),
    ];
    for (before, after) in around {
        for name in ["token", "api_key", "sig"] {
            for uri in ["http://h/f?a=1&", "http://h/f?", "/d/f?", "http://h/f;", ""] {
                let uri = format!("{uri}{before}{name}{after}={SECRET}");
                for shown in [redact(&uri), redact_within(&format!("cannot read {uri}: gone"))] {
                    assert!(!shown.contains(SECRET), "{uri}: {shown}");
                }
            }
        }
    }
    assert_eq!(redact("http://h/f?token =S3cr3t"), "http://h/f?token =***");
    // In a text, a space ends a URI.
    let prose = "expected the token '=' and not the key = 5";
    assert_eq!(redact_within(prose), prose);
}

#[test]
fn names_of_secrets_are_told_from_ordinary_ones() {
    for name in [
        "token",
        "access_token",
        "accessToken",
        "authkey",
        "authKey",
        "AUTH_KEY",
        "auth",
        "sign",
        "sig",
        "Signature",
        "bearer",
        "ticket",
        "PHPSESSID",
        "PHPSessId",
        "jsessionid",
        "JSESSIONID",
        "sid",
        "connect.sid",
        "pass",
        "userpass",
        "passwd",
        "password",
        "user[password]",
        "pwd",
        "pw",
        "dbpw",
        "secret",
        "client_secret",
        "clientsecret",
        "key",
        "key2",
        "keys",
        "apikey",
        "api-key",
        "APIKey",
        "x-api-key",
        "sshkey",
        "jwt",
        "id_token",
        "otp",
        "code",
        "cred",
        "awsCreds",
        "%74oken",
        "%2574oken",
        "t%6Fken",
        "hdnts",
        "X-Amz-Security-Token",
        "xsrf",
        "Authorization",
        "Cookie",
        "passphrase",
    ] {
        assert!(is_secret(name), "{name}");
    }
    for name in [
        "design",
        "monkey",
        "keyboard",
        "passenger",
        "page",
        "zipcode",
        "country_code",
        "author",
        "signal",
        "insignia",
        "turkey",
        "compass",
        "keyword",
        "side",
        "inside",
        "spin",
        "id",
        "user",
        "userid",
        "Expires",
        "sort",
        "assign",
        "X-Amz-SignedHeaders",
        "X-Amz-Date",
        "passport",
        "authority",
        "hash",
        "format",
        "designId",
        "policyholder",
        "",
    ] {
        assert!(!is_secret(name), "{name}");
    }
}

#[test]
fn uris_with_a_user_or_a_password_are_found() {
    for uri in [
        "http://me@h",
        "http://:S3cr3t@h",
        "HTTP:\\\\me@h",
        "http:me:S3cr3t@h",
        "http:/me:S3cr3t@h",
        "s3://k:S3cr3t@b/x",
        "jdbc:http://u:p@h",
        "jdbc:postgresql://u:p@h/x",
        "jdbc:oracle:thin:u/p@h",
        "s3:u:p@h",
        "s3:\\\\u:p@h",
        "view-source:http:u:p@h",
        "https://h/?u=http://u:p@i",
        "https://h/?u=http%3A%2F%2Fu%3Ap%40i",
        "https://h/http%253A%252F%252Fu%253Ap%2540i",
        "https://h/#http://u:p@i",
        "http://u:?p@h",
        "http://u:a/p@h",
        " http://u:p@h",
        "/x http://u:p@h",
        "//u:p@h/x",
        " //u@h/x",
    ] {
        assert!(has_userinfo(uri), "{uri}");
    }
    for uri in [
        "http://h",
        "https://h/@scope/x",
        "https://h/?mail=a@b",
        "https://h/?u=https://m.example/@me",
        "a@b.csv",
        "/data/a@b.csv",
        "file:///data/a@b.csv",
        "s3://bucket/a@b.csv",
        "https://h//a@b",
        "C:\\a@b.csv",
    ] {
        assert!(!has_userinfo(uri), "{uri}");
    }
    let often = format!("http:/%{}2Fu:p@h", "25".repeat(20));
    assert!(has_userinfo(&often), "what cannot be looked at");
}

#[test]
fn uris_within_a_text_are_found() {
    for (text, shown) in [
        (
            r#"{"uri":"http://me:S3cr3t@h/a","url":"https://b?sig=S3cr3t&page=1","id":"a:b"}"#,
            r#"{"uri":"http://h/a","url":"https://b?sig=***&page=1","id":"a:b"}"#,
        ),
        (r#"{"uri":"http:me:S3cr3t@h/a"}"#, r#"{"uri":"http://h/a"}"#),
        (
            r#"{"uri":"HTTPS:\\\\me:S3cr3t@h\\a"}"#,
            r#"{"uri":"https://h//a"}"#,
        ),
        (
            r#"{"uri":"http://me:S3cr3t\u0040h/a"}"#,
            r#"{"uri":"http://h/a"}"#,
        ),
        (r#"{"uri":"http:\/\/me:S3cr3t@h\/a"}"#, r#"{"uri":"http://h/a"}"#),
        (r#"{"uri":"http://me:a\"S3cr3t@h/a"}"#, r#"{"uri":"http://h/a"}"#),
        (
            "é→http://me:S3cr3t@h then ftp://u:S3cr3t@i/x",
            "é→http://h then ftp://i/x",
        ),
        ("no scheme: ://me:S3cr3t@h", "no scheme: ://h"),
        ("no scheme: me:S3cr3t@h", "no scheme: me:h"),
        (
            "fetch a.csv: record 3: no http://",
            "fetch a.csv: record 3: no http://",
        ),
        ("nothing", "nothing"),
        // In these cases, the secrets are in members of JSON and in headers.
        (
            r#"{"uri":"a","password":"a\"S3cr3t","page":1}"#,
            r#"{"uri":"a","password":"***","page":1}"#,
        ),
        (r#"{"api\u004bey" : 12345, "a":1}"#, r#"{"apiKey" : ***, "a":1}"#),
        (
            r#"{"auth":{"user":"S3cr3t","list":[1]},"a":1}"#,
            r#"{"auth":***,"a":1}"#,
        ),
        (
            r#"{"x":"{\"token\":\"S3cr3t\",\"a\":1}"}"#,
            r#"{"x":"{\"token\":\"***\",\"a\":1}"}"#,
        ),
        (
            "Authorization: Bearer S3cr3t\nAccept: x",
            "Authorization: ***\nAccept: x",
        ),
        ("key.example.com:8080/x", "key.example.com:8080/x"),
        ("token=S3cr3t and more", "token=*** and more"),
    ] {
        assert_eq!(redact_within(text), shown);
    }
}

#[test]
fn long_texts_take_no_long_time() {
    let begun = std::time::Instant::now();
    for part in [
        "//a", "http:", "token=1;", "%25", "\"key\":", "a://b@", "key", "?a=", "\\u0041",
    ] {
        let text = part.repeat((64 << 10) / part.len());
        redact_within(&text);
        redact(&text[..8 << 10]);
        has_userinfo(&text[..8 << 10]);
    }
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
}

fn encode(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Generates URIs that contain the secret as a user name, as a password or as the value of a parameter, at any
/// position.
fn secretive() -> impl Strategy<Value = String> {
    let scheme = prop::sample::select(vec![
        "http",
        "https",
        "HTTP",
        "ftp",
        "s3",
        "jdbc:http",
        "jdbc:pg",
        "git+https",
        "redis",
    ]);
    let slashes = prop::sample::select(vec!["://", ":\\\\", ":///"]);
    let host = prop::sample::select(vec![
        "h.example",
        "h:80",
        "[::1]",
        "[::zz]",
        "h:port",
        "",
        "1.2.3.4",
    ]);
    let name = prop::sample::select(vec![
        "token",
        "authkey",
        "sign",
        "bearer",
        "ticket",
        "PHPSESSID",
        "api_key",
        "X-Amz-Signature",
        "code",
        "%74oken",
    ]);
    let user = (
        scheme.clone(),
        slashes.clone(),
        host.clone(),
        "[a-z:/?#%]{0,3}",
        "[a-z0-9.@]{0,3}",
        "(/[a-z]{1,3}){0,2}",
    )
        .prop_map(|(scheme, slashes, host, before, after, path)| {
            format!("{scheme}{slashes}u:{before}{SECRET}{after}@{host}{path}")
        });
    let sign = prop::sample::select(vec!["?", "?a=1&", ";", "/", "?a;", "#", "/x?y=http://i/?"]);
    let parameter = (
        scheme,
        slashes,
        host,
        "(/[a-z]{1,3}){0,2}",
        sign,
        name,
        "(&[a-z]=[0-9]){0,2}",
    )
        .prop_map(|(scheme, slashes, host, path, sign, name, more)| {
            format!("{scheme}{slashes}{host}{path}{sign}{name}={SECRET}{more}")
        });
    // The URI becomes the value of a parameter of another URI, and is percent-encoded several times.
    (
        prop_oneof![user, parameter],
        0..4_usize,
        prop::sample::select(vec!["", "https://o.example/?next=", "jdbc:", "/p?u=", " "]),
    )
        .prop_map(|(uri, levels, around)| {
            let levels = if around.ends_with('=') { levels } else { 0 };
            format!("{around}{}", (0..levels).fold(uri, |uri, _| encode(&uri)))
        })
}

fn hides(text: &str) -> bool {
    let mut text = text.to_owned();
    loop {
        if text.contains(SECRET) {
            return false;
        }
        match decode(&text) {
            Some(decoded) => text = decoded,
            None => return true,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_planted_secret_is_never_shown(uri in secretive()) {
        for shown in [
            redact(&uri),
            redact_within(&uri),
            redact_within(&format!("fetch {uri}: not found")),
            redact_within(&serde_json::json!({ "uri": uri }).to_string()),
            redact_within(&serde_json::json!({ "uri": uri }).to_string().replace('/', "\\/")),
            redact(&redact(&uri)),
        ] {
            prop_assert!(hides(&shown), "{uri} is shown as {shown}");
        }
        for error in [
            crate::location::Location::parse(&uri, crate::error::Stage::Fetch).err(),
            crate::request::NewRequest::new(uri.clone()).check().err(),
        ].into_iter().flatten() {
            prop_assert!(hides(&error.report()), "{uri}: {}", error.report());
        }
    }

    #[test]
    fn whatever_is_written_is_shown_somehow(text in ".{0,80}|[a:/\\\\@%=;?#&\"0-9]{0,40}") {
        let _ = (redact(&text), redact_within(&text), has_userinfo(&text));
    }
}
