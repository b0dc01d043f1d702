//! Redacts secrets: a URI or a text goes in; the same URI or text without its secrets comes out, for messages, logs and
//! receipts. User names and passwords are removed, even from a URI within another URI, and from a malformed URI. If a
//! parameter has the name of a secret, such as `token`, its value becomes `***`. A part that cannot be parsed is
//! hidden, too.

use std::borrow::Cow;
use std::path::Path;

use percent_encoding::percent_decode_str;
use url::Url;

use super::scheme;

const HIDDEN: &str = "***";

/// The maximum number of times that a text is percent-decoded. A text that changes in each of these decodings is
/// hidden.
const LEVELS_MAX: usize = 8;

/// The maximum length, in bytes, of a host together with a user name and a password.
const AUTHORITY_MAX: usize = 2_048;

/// The schemes that allow any number of slashes before the host, even none: see the URL standard.
const SPECIAL: [&str; 5] = ["http", "https", "ftp", "ws", "wss"];

/// Returns the URI without its secrets. A plain path is returned unchanged, except for parts that look like a URI or a
/// parameter.
pub fn redact(uri: &str) -> String {
    let bare = match scheme(uri).map(|scheme| (Url::parse(uri), scheme)) {
        Some((Ok(url), _)) => match without_fragment(url) {
            Some(url) => Cow::from(url),
            None => Cow::from(uri),
        },
        // The URI is malformed. Its password could contain an unescaped `?` or `#`. So a query or a fragment can begin
        // only after the last `@`.
        Some((Err(_), _)) => {
            let from = uri.rfind('@').unwrap_or_default();
            let end = uri[from..].find(['?', '#']).map_or(uri.len(), |at| from + at);
            Cow::from(&uri[..end])
        }
        None => Cow::from(uri),
    };
    redact_one(&bare)
}

/// Returns the URI without user name, password, query and fragment. In a plain path, `?` and `#` are parts of a name, so
/// they stay.
pub fn bare(uri: &str) -> String {
    let mut uri = redact(uri);
    if scheme(&uri).is_some() {
        uri.truncate(uri.find(['?', '#']).unwrap_or(uri.len()));
    }
    uri
}

/// Returns the last part of the path of a URI or a plain path, percent-decoded if it is a URI. Returns an empty text if
/// there is no path.
pub fn last_part(uri: &str) -> String {
    if scheme(uri).is_none() {
        let name = Path::new(uri).file_name().unwrap_or_default();
        return name.to_string_lossy().into_owned();
    }
    let bare = bare(uri);
    let path = Url::parse(&bare).map_or(String::new(), |url| url.path().to_owned());
    let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    percent_decode_str(name).decode_utf8_lossy().into_owned()
}

/// Returns a URL without user name, password and fragment, or `None` if the URL has none of these parts.
fn without_fragment(mut url: Url) -> Option<String> {
    if url.username().is_empty() && url.password().is_none() && url.fragment().is_none() {
        return None;
    }
    // These calls fail only on a URI that cannot have these parts.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_fragment(None);
    Some(url.into())
}

/// Returns a text for people, without secrets. Each URI in the text is redacted as [`redact`] does it. The values of
/// members that have the name of a secret are hidden. This function is for texts from elsewhere, such as an invalid
/// request document, or an error of a library. A text without secrets is returned unchanged.
pub fn redact_within(text: &str) -> String {
    // Each rule needs one of these characters.
    if !text.contains([':', '=', '@', '%', '/', '\\']) {
        return text.to_owned();
    }
    let plain = unescape(text);
    match redact_plain(&plain) {
        shown if shown == plain => text.to_owned(),
        shown => shown,
    }
}

/// Returns a text that has no JSON escapes, without secrets.
fn redact_plain(text: &str) -> String {
    let text = hide_members(text);
    let mut shown = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while !rest.is_empty() {
        if let Some(length) = marked_value_length(&text[..text.len() - rest.len()], rest) {
            shown.push('=');
            shown.push_str(HIDDEN);
            rest = &rest[length..];
            continue;
        }
        let length = token_length(rest);
        shown.push_str(&redact_token(&rest[..length]));
        rest = &rest[length..];
        let next = rest.chars().next().map_or(0, char::len_utf8);
        shown.push_str(&rest[..next]);
        rest = &rest[next..];
    }
    shown
}

/// Returns whether a URI, or another URI within it, contains a user name or a password. The user name can be
/// percent-encoded several times. A URI that changes in each of eight decodings counts as a URI with a user name.
pub fn has_userinfo(uri: &str) -> bool {
    let is_opaque = scheme(uri).is_some_and(|scheme| {
        let rest = &uri[scheme.len() + 1..];
        !SPECIAL.contains(&scheme.as_str()) && !rest.starts_with(['/', '\\']) && rest.contains('@')
    });
    let is_told = Url::parse(uri).is_ok_and(|url| !url.username().is_empty() || url.password().is_some());
    // If a text begins with two slashes, browsers read a host after them, although this program reads the text as a
    // path.
    let without_scheme = uri
        .trim_start()
        .strip_prefix("//")
        .map(|rest| format!("http://{rest}"));
    is_opaque
        || is_told
        || without_scheme.is_some_and(|uri| has_userinfo(&uri))
        || at_some_level(uri, |text| {
            authorities(text).any(|authority| authority.has_userinfo())
        })
}

/// Returns whether `holds` is true for a text, or for the result of percent-decoding it once or several times. Also
/// returns true if the text changes in each of [`LEVELS_MAX`] decodings.
fn at_some_level(text: &str, holds: impl Fn(&str) -> bool) -> bool {
    let mut text = Cow::from(text);
    for _ in 0..LEVELS_MAX {
        if holds(&text) {
            return true;
        }
        match decode(&text) {
            Some(decoded) => text = Cow::from(decoded),
            None => return false,
        }
    }
    true
}

/// Percent-decodes a text once. Returns `None` if this does not change the text.
fn decode(text: &str) -> Option<String> {
    let decoded = percent_decode_str(text).decode_utf8_lossy();
    (decoded != text).then(|| decoded.into_owned())
}

/// Redacts one URI, or a text that could be a URI.
fn redact_one(uri: &str) -> String {
    let is_path = scheme(uri).is_none_or(|scheme| scheme == "file");
    let clean = |text: &str| hide_members(&hide_pair(&hide_values(&strip_userinfo(text), is_path)));
    let shown = clean(uri);
    if !shown.contains('%') {
        return shown;
    }
    let shown = hide_encoded(&shown, &clean);
    if !at_some_level(&shown, |text| clean(text) != text) {
        return shown;
    }
    // A secret is left: it appears only if several components are decoded together. So the text after the first host is
    // hidden or, if there is no host, the whole text.
    match authorities(&shown).next() {
        Some(host) if is_host(&shown[host.start..host.end]) => format!("{}/{HIDDEN}", &shown[..host.end]),
        _ => HIDDEN.to_owned(),
    }
}

/// Redacts a token: a part of a text without blanks.
fn redact_token(token: &str) -> String {
    if !token.contains([':', '=', '@', '%', '/']) {
        return token.to_owned();
    }
    let shown = match scheme(token) {
        Some(_) => redact(token),
        None => redact_one(token),
    };
    hide_pair_after(&shown, 0)
}

/// Returns a text in which `***` replaces `me:password` before an `@` in its query.
fn hide_pair(text: &str) -> String {
    match text.find('?') {
        Some(query) => hide_pair_after(text, query),
        None => text.to_owned(),
    }
}

/// Returns a text in which `***` replaces `me:password` before an `@`. Any prefix can come before the pair. Only the
/// text from `from` on is searched.
fn hide_pair_after(text: &str, from: usize) -> String {
    let Some(at) = text[from..].rfind('@').map(|at| from + at) else {
        return text.to_owned();
    };
    let colon = text[from..at]
        .match_indices(':')
        .map(|(colon, _)| from + colon)
        .find(|colon| !text[colon + 1..].starts_with(['/', '\\']));
    match colon {
        Some(colon) => {
            let start = text[..colon]
                .rfind(['/', '\\', '=', '&', '?', ';', ','])
                .map_or(0, |delimiter| delimiter + 1);
            format!("{}{HIDDEN}{}", &text[..start], &text[at..])
        }
        None => text.to_owned(),
    }
}

/// Returns the length of `=VALUE` at the start of `rest`. Returns `None` unless `before` ends with the name of a secret
/// in quotes or brackets, as in `"token"=VALUE`.
fn marked_value_length(before: &str, rest: &str) -> Option<usize> {
    let value = rest.strip_prefix('=')?;
    let name = before.trim_end_matches(|c: char| is_closing(c) && !c.is_whitespace());
    if name.len() == before.len() || !is_secret(last_name(name)) {
        return None;
    }
    let length = match value.starts_with(['"', '\'']) {
        true => {
            let (opening, length) = member_length(value, false);
            opening + length
        }
        false => token_length(value),
    };
    Some(1 + length)
}

/// Returns the name at the end of a text.
fn last_name(text: &str) -> &str {
    let start = text
        .char_indices()
        .rev()
        .take_while(|&(_, c)| is_name_part(c))
        .last();
    &text[start.map_or(text.len(), |(at, _)| at)..]
}

/// Returns the length of the token at the start of a text. The token ends before the first blank or quote, unless a
/// backslash comes before that character.
fn token_length(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices() {
        let ends = c.is_whitespace() || c.is_control() || matches!(c, '"' | '\'' | '`' | '<' | '>');
        if ends && !is_escaped {
            return at;
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    text.len()
}

/// Returns JSON text in which the escapes that could hide a part of a URI are decoded. The escape `\u005c` of a
/// backslash becomes a slash, because URLs treat a backslash as a slash.
fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::from(text);
    }
    let (mut plain, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        let escape = &rest[at..];
        let code = escape
            .strip_prefix("\\u")
            .and_then(|hex| hex.get(..4))
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        let (character, length) = match (code, escape.as_bytes().get(1)) {
            (Some(b'\\'), _) => (Some('/'), 6),
            (Some(code @ (b'!' | b'#'..=b'~')), _) => (Some(char::from(code)), 6),
            (Some(b' ' | b'\t' | b'\n' | b'\r'), _) => (Some(' '), 6),
            (_, Some(b'/')) => (Some('/'), 2),
            (_, Some(b't' | b'n' | b'r')) => (Some(' '), 2),
            _ => (None, 1),
        };
        match character {
            Some(character) => plain.push(character),
            None => {
                // Other escapes are copied. The second of two backslashes does not begin an escape.
                let length = 1 + escape[1..].chars().next().map_or(0, char::len_utf8);
                plain.push_str(&escape[..length]);
                rest = &escape[length..];
                continue;
            }
        }
        rest = &escape[length..];
    }
    plain.push_str(rest);
    Cow::from(plain)
}

/// The part of a text in which a URI names its host, with user name, password and port. It begins after `://` or
/// similar characters.
struct Authority<'a> {
    text: &'a str,
    start: usize,
    end: usize,
    /// True if a scheme comes before the authority.
    is_named: bool,
}

impl Authority<'_> {
    fn has_userinfo(&self) -> bool {
        let authority = &self.text[self.start..self.end];
        // If the text is not a host, it could be a user name with the beginning of a password.
        let is_begun = || !is_host(authority) && self.text[self.end..].contains('@');
        self.is_named && (authority.contains('@') || is_begun())
    }
}

fn is_slash(c: char) -> bool {
    matches!(c, '/' | '\\')
}

/// Returns all authorities in a text, in their order. An authority can begin within another authority.
fn authorities(text: &str) -> impl Iterator<Item = Authority<'_>> {
    let places = text.char_indices().filter(|&(_, c)| c == ':' || is_slash(c));
    places.filter_map(move |(at, c)| {
        let (before, rest) = (&text[..at], &text[at..]);
        if is_slash(c) && before.ends_with(|c| is_slash(c) || c == ':') {
            return None;
        }
        let behind = if c == ':' { &rest[1..] } else { rest };
        let slashes = behind.len() - behind.trim_start_matches(is_slash).len();
        if c != ':' && slashes < 2 {
            return None;
        }
        let scheme_bytes = before
            .bytes()
            .rev()
            .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
            .count();
        let scheme = before[before.len() - scheme_bytes..].to_ascii_lowercase();
        let is_special = c == ':' && SPECIAL.contains(&scheme.as_str());
        if slashes < 2 && !is_special {
            return None;
        }
        // A local file has no host, and `@` is an ordinary character of its name.
        let slashes = if scheme == "file" { 2 } else { slashes };
        let start = text.len() - behind.len() + slashes;
        let longest = text.floor_char_boundary(start + AUTHORITY_MAX);
        let end = text[start..longest]
            .find(['/', '\\', '?', '#'])
            .map_or(longest, |length| start + length);
        Some(Authority {
            text,
            start,
            end,
            is_named: c == ':' && scheme_bytes > 0,
        })
    })
}

/// Removes from each authority in a text the part before its `@`. If an authority does not look like a host, a password
/// could continue after it. In this case, everything up to the last `@` of the text is removed. If no `@` follows, the
/// authority is hidden.
fn strip_userinfo(text: &str) -> String {
    let text = &opaque_without_userinfo(text);
    let (mut shown, mut from) = (String::with_capacity(text.len()), 0);
    let last_at = text.rfind('@');
    for Authority {
        mut start,
        end,
        is_named,
        ..
    } in authorities(text)
    {
        if start < from {
            continue;
        }
        shown.push_str(&text[from..start]);
        if let Some(at) = text[start..end].rfind('@') {
            start += at + 1;
        }
        from = start;
        if is_named && !is_host(&text[start..end]) {
            match last_at.filter(|&at| at >= start) {
                Some(at) => from = at + 1,
                None => {
                    shown.push_str(HIDDEN);
                    from = end;
                }
            }
        }
    }
    shown + &text[from..]
}

/// Removes the part before the `@` from a URI such as `scheme:me:password@host`, which has no slashes before the host
/// and no scheme in [`SPECIAL`]. Returns other texts unchanged.
fn opaque_without_userinfo(text: &str) -> String {
    if let Some(scheme) = scheme(text)
        && !SPECIAL.contains(&scheme.as_str())
    {
        let rest = &text[scheme.len() + 1..];
        if !rest.starts_with(['/', '\\'])
            && !rest.contains("://")
            && let Some(at) = rest.rfind('@')
        {
            return format!("{}:{}", &text[..scheme.len()], &rest[at + 1..]);
        }
    }
    text.to_owned()
}

/// Returns whether a text looks like a host name or an address, with or without a port. Of a list of hosts, only the
/// first is examined.
fn is_host(text: &str) -> bool {
    let is_one = |host: &str| {
        let (host, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, port)) => (address, port.strip_prefix(':').unwrap_or(port)),
            None if host.starts_with('[') => (&host[1..], ""),
            None => host.split_once(':').unwrap_or((host, "")),
        };
        let allowed = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '~' | ':' | '*');
        // If the text ends with a colon, a password could follow that begins with `/`, `?` or `#`.
        let is_cut = !text.starts_with('[') && text.ends_with(':');
        host.chars().all(allowed) && port.chars().all(|c| c.is_ascii_digit()) && !is_cut
    };
    text.split([',', ';']).take(1).all(is_one)
}

/// Returns whether a character can be part of a name before `=`.
fn is_name_part(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '%' | '[' | ']' | '$' | '~' | '+' | '!' | '*')
}

/// Returns whether a character can stand between a name and its `=`, as in `"token"=`.
fn is_closing(c: char) -> bool {
    c.is_whitespace()
        || matches!(
            c,
            '"' | '\'' | '`' | '<' | '>' | '(' | ')' | '{' | '}' | '|' | '\\' | '^' | ','
        )
}

/// Returns a text in which `***` replaces the values of parameters that have the name of a secret: `?token=...`,
/// `&sig=...`, `;jwt=...`. In a file's path, a folder `session=5` is not a parameter.
fn hide_values(text: &str, is_path: bool) -> String {
    let (mut shown, mut rest) = (String::with_capacity(text.len()), text);
    let query = text.find(['?', '#']);
    // If a path contains a URI, no part of the text from the URI's host on counts as a folder.
    let nested = if is_path {
        let own = scheme(text).map_or(0, |scheme| scheme.len() + 1);
        let named = authorities(&text[own..]).find(|authority| authority.is_named);
        named.map(|authority| own + authority.start)
    } else {
        Some(0)
    };
    let mut from = 0;
    while let Some(equals) = rest[from..].find('=').map(|at| from + at) {
        from = equals + 1;
        let name = rest[..equals].trim_end_matches(is_closing);
        let name_start = name.len() - last_name(name).len();
        let before = shown.chars().last();
        let boundary = rest[..name_start].chars().last().or(before);
        let place = text.len() - rest.len() + name_start;
        let is_folder = matches!(boundary, Some('/' | '\\')) && nested.is_none_or(|nested| nested > place);
        if is_folder || !is_secret(&name[name_start..]) {
            continue;
        }
        let is_query =
            !matches!(boundary, Some('/' | '\\' | ';')) || query.is_some_and(|query| query < place);
        let end = from + value_length(&rest[from..], is_query);
        shown.push_str(&rest[..from]);
        shown.push_str(HIDDEN);
        (rest, from) = (&rest[end..], 0);
    }
    shown + rest
}

/// Returns the length of a value. The value ends before the next parameter or, in a path, before the next segment.
fn value_length(text: &str, is_query: bool) -> usize {
    let ends = |(at, c): (usize, char)| match c {
        '&' | '#' => true,
        // A semicolon within a query can be part of the value.
        ';' => !is_query || text[at + 1..].trim_start_matches(is_name_part).starts_with('='),
        '/' | '?' => !is_query,
        _ => false,
    };
    text.char_indices()
        .find(|&place| ends(place))
        .map_or(text.len(), |(at, _)| at)
}

/// Returns a text in which `***` replaces each component that contains a secret after percent-decoding.
fn hide_encoded(text: &str, clean: &impl Fn(&str) -> String) -> String {
    let is_delimiter = |c: char| matches!(c, '/' | '\\' | '?' | '&' | '=' | ';' | '#' | '@' | ':');
    let mut shown = String::with_capacity(text.len());
    for part in text.split_inclusive(is_delimiter) {
        let component = part.trim_end_matches(is_delimiter);
        if component.contains('%') && at_some_level(component, |text| clean(text) != text) {
            shown.push_str(HIDDEN);
            shown.push_str(&part[component.len()..]);
        } else {
            shown.push_str(part);
        }
    }
    shown
}

/// Returns a text in which `***` replaces the values of members and headers that have the name of a secret:
/// `"password": "..."`, `Authorization: ...`.
fn hide_members(text: &str) -> String {
    let (mut shown, mut rest) = (String::with_capacity(text.len()), text);
    let mut from = 0;
    while let Some(colon) = rest[from..].find(':').map(|at| from + at) {
        from = colon + 1;
        let before = rest[..colon].trim_end();
        let name = before.trim_end_matches(['"', '\'', '\\']);
        let is_quoted = name.len() < before.len();
        let start = name
            .char_indices()
            .rev()
            .take_while(|&(_, c)| is_name_part(c) || (is_quoted && c == ' '))
            .last()
            .map_or(name.len(), |(at, _)| at);
        let value = rest[from..].trim_start();
        let is_apart = is_quoted || value.len() < rest.len() - from || value.starts_with(['"', '\'']);
        if !is_apart || !is_secret(&name[start..]) || is_http_status(&name[start..], value) {
            continue;
        }
        let value_start = rest.len() - value.len();
        let (opening, length) = member_length(value, is_quoted);
        shown.push_str(&rest[..value_start + opening]);
        shown.push_str(HIDDEN);
        (rest, from) = (&rest[value_start + opening + length..], 0);
    }
    shown + rest
}

/// Returns whether a member is the status code of an answer, such as `status code: 404`. A code that grants access is
/// longer.
fn is_http_status(name: &str, value: &str) -> bool {
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    let is_whole = !value[digits..].starts_with(|c: char| c.is_alphanumeric() || matches!(c, '-' | '_'));
    name.eq_ignore_ascii_case("code") && digits == 3 && is_whole
}

/// Returns two lengths: the length of the opening quote before a member's value, and the length of the value.
fn member_length(text: &str, is_json: bool) -> (usize, usize) {
    let backslashes = text.len() - text.trim_start_matches('\\').len();
    let behind = &text[backslashes..];
    if let Some(quote) = behind.chars().next().filter(|c| matches!(c, '"' | '\'')) {
        let opening = backslashes + 1;
        let mut escapes = 0;
        for (at, c) in text[opening..].char_indices() {
            match c {
                '\\' => escapes += 1,
                c if c == quote && (escapes <= backslashes || (backslashes == 0 && escapes % 2 == 0)) => {
                    return (opening, at - escapes);
                }
                _ => escapes = 0,
            }
        }
        return (opening, text.len() - opening);
    }
    if text.starts_with(['[', '{']) {
        let mut depth = 0_usize;
        for (at, c) in text.char_indices() {
            match c {
                '[' | '{' => depth += 1,
                ']' | '}' if depth == 1 => return (0, at + 1),
                ']' | '}' => depth -= 1,
                _ => {}
            }
        }
        return (0, text.len());
    }
    let end = |c: char| matches!(c, '\n' | '\r' | '"') || (is_json && matches!(c, ',' | '}' | ']'));
    (0, text.find(end).unwrap_or(text.len()))
}

/// A name that contains one of these texts is the name of a secret.
const WITHIN: &[&str] = &[
    "signature",
    "token",
    "secret",
    "passw",
    "passphrase",
    "passcode",
    "credential",
    "apikey",
    "accesskey",
    "session",
    "sessid",
    "authorization",
    "bearer",
    "hmac",
    "jwt",
];

/// Each of these words is the name of a secret if it is the whole name. As a part of a name, it does not count:
/// `zipcode` and `country_code` are not names of secrets.
const WHOLE: [&str; 3] = ["code", "pin", "policy"];

/// The parts of words that name a secret. A name is the name of a secret if one of its words contains at least one of
/// these parts, and otherwise has only parts in [`BESIDE`] and digits. So `authkey` is the name of a secret, but
/// `keyboard` is not.
const WORDS: &[&str] = &[
    "assertion",
    "auth",
    "authn",
    "authz",
    "cookie",
    "cookies",
    "cred",
    "creds",
    "csrf",
    "hdnea",
    "hdntl",
    "hdnts",
    "key",
    "keys",
    "oauth",
    "otp",
    "pass",
    "passkey",
    "psw",
    "pswd",
    "pw",
    "pwd",
    "saml",
    "sas",
    "sess",
    "sid",
    "sig",
    "sign",
    "signing",
    "ticket",
    "tickets",
    "totp",
    "xauth",
    "xsrf",
];

/// The parts of words that can be joined to [`WORDS`] without a gap.
const BESIDE: &[&str] = &[
    "access", "account", "admin", "amz", "api", "app", "asp", "aspx", "aws", "az", "azure", "basic", "bot",
    "client", "data", "db", "device", "digest", "download", "enc", "file", "ftp", "gcp", "git", "google",
    "gpg", "hook", "host", "http", "https", "hub", "id", "ids", "j", "lab", "license", "login", "master",
    "my", "mysql", "new", "old", "one", "pg", "php", "postgres", "private", "proxy", "public", "redis",
    "refresh", "req", "request", "root", "rsa", "secure", "server", "service", "shared", "sql", "ssh",
    "storage", "time", "user", "x",
];

/// Returns whether the value of a parameter, member or header with this name counts as a secret.
fn is_secret(name: &str) -> bool {
    let name = fully_decoded(name);
    let Some(name) = name else { return true };
    let whole = name.to_lowercase();
    if WHOLE.contains(&whole.as_str()) {
        return true;
    }
    name.split(|c: char| !c.is_alphanumeric()).any(|run| {
        let lower = run.to_lowercase();
        WITHIN.iter().any(|word| lower.contains(word))
            || is_made_of_secrets(&lower)
            || words(run).any(|word| is_made_of_secrets(&word.to_lowercase()))
    })
}

fn fully_decoded(text: &str) -> Option<String> {
    let mut text = text.to_owned();
    for _ in 0..LEVELS_MAX {
        match decode(&text) {
            Some(decoded) => text = decoded,
            None => return Some(text),
        }
    }
    None
}

/// Splits a name in camel case into its words: `authKey`, `PHPSessId`, `key2`.
fn words(run: &str) -> impl Iterator<Item = &str> {
    let characters: Vec<(usize, char)> = run.char_indices().collect();
    let begins = move |number: usize| {
        let (before, c) = (characters[number - 1].1, characters[number].1);
        let next_is_lower = characters.get(number + 1).is_some_and(|(_, c)| c.is_lowercase());
        let begins = (c.is_uppercase() && (!before.is_uppercase() || next_is_lower))
            || c.is_numeric() != before.is_numeric();
        begins.then_some(characters[number].0)
    };
    let count = run.chars().count();
    let starts: Vec<usize> = (1..count).filter_map(begins).collect();
    let ends: Vec<usize> = starts.iter().copied().chain([run.len()]).collect();
    let starts = std::iter::once(0).chain(starts);
    starts.zip(ends).map(|(start, end)| &run[start..end])
}

/// Returns whether a lowercase word consists only of [`WORDS`], [`BESIDE`] and digits, and contains at least one of
/// [`WORDS`].
fn is_made_of_secrets(word: &str) -> bool {
    // The entry for a position says whether the word up to this position consists of such parts. The first flag is for
    // parts without any of `WORDS`, the second for parts with at least one of `WORDS`.
    let mut reached = vec![(false, false); word.len() + 1];
    reached[0].0 = true;
    for from in 0..word.len() {
        let (bare, secret) = reached[from];
        if !(bare || secret) || !word.is_char_boundary(from) {
            continue;
        }
        let rest = &word[from..];
        for part in WORDS.iter().filter(|part| rest.starts_with(**part)) {
            reached[from + part.len()].1 = true;
        }
        let digit = rest.starts_with(|c: char| c.is_ascii_digit()).then_some(1);
        let beside = BESIDE.iter().filter(|part| rest.starts_with(**part));
        for length in beside.map(|part| part.len()).chain(digit) {
            let next = &mut reached[from + length];
            *next = (next.0 || bare, next.1 || secret);
        }
    }
    reached[word.len()].1
}

#[cfg(test)]
mod tests;
