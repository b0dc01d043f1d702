//! Parses names of encodings. A name that a person or a program has written goes in. The encoding's name in the
//! Encoding Standard comes out.

use encoding_rs::Encoding;

/// The names of encodings that Python or other programs use, but that the Encoding Standard does not have. In these
/// names, `-` stands for `_` and spaces, too.
const ALIASES: [(&str, &str); 43] = [
    ("utf-8-sig", "utf-8"),
    ("u8", "utf-8"),
    ("utf", "utf-8"),
    ("utf8-ucs2", "utf-8"),
    ("utf8-ucs4", "utf-8"),
    ("utf8-sig", "utf-8"),
    ("utf-8-bom", "utf-8"),
    ("cp65001", "utf-8"),
    ("utf16", "utf-16le"),
    ("u16", "utf-16le"),
    ("utf-16-le", "utf-16le"),
    ("utf16-le", "utf-16le"),
    ("utf16le", "utf-16le"),
    ("utf-16-be", "utf-16be"),
    ("utf16-be", "utf-16be"),
    ("utf16be", "utf-16be"),
    ("latin-1", "latin1"),
    ("latin-2", "latin2"),
    ("latin-9", "iso-8859-15"),
    ("latin9", "iso-8859-15"),
    ("latin7", "iso-8859-13"),
    ("latin8", "iso-8859-14"),
    ("latin10", "iso-8859-16"),
    ("l7", "iso-8859-13"),
    ("l8", "iso-8859-14"),
    ("l10", "iso-8859-16"),
    ("8859", "latin1"),
    ("mac-roman", "macintosh"),
    ("macroman", "macintosh"),
    ("mac-cyrillic", "x-mac-cyrillic"),
    ("maccyrillic", "x-mac-cyrillic"),
    ("cp874", "windows-874"),
    ("cp932", "shift_jis"),
    ("cp936", "gbk"),
    ("cp949", "euc-kr"),
    ("uhc", "euc-kr"),
    ("cp950", "big5"),
    ("eucjp", "euc-jp"),
    ("ujis", "euc-jp"),
    ("euckr", "euc-kr"),
    ("iso2022-jp", "iso-2022-jp"),
    ("iso2022jp", "iso-2022-jp"),
    ("gb18030-2000", "gb18030"),
];

/// The name of ASCII. In the Encoding Standard, this name means Windows-1252. Here, as in Python, a byte beyond ASCII
/// is an error.
pub const ASCII: &str = "us-ascii";

/// The names of ASCII. In these names, `-` stands for `_` and spaces, too.
const ASCII_NAMES: [&str; 12] = [
    ASCII,
    "ascii",
    "646",
    "ansi-x3.4-1968",
    "ansi-x3.4-1986",
    "cp367",
    "csascii",
    "ibm367",
    "iso-646.irv-1991",
    "iso-ir-6",
    "iso646-us",
    "us",
];

/// Returns the name that this crate uses for an encoding, or `None` if the encoding is not known. `label` can be:
///
/// - a label of the Encoding Standard, such as `utf-16` or `latin1`
/// - a name that Python uses, such as `latin_1`, `cp1252` or `utf_8_sig`
///
/// As in the standard, Latin-1 means Windows-1252. The two differ only in bytes that are control characters in Latin-1,
/// and text does not contain these characters.
pub fn parse_encoding(label: &str) -> Option<String> {
    let for_label = |label: &str| Encoding::for_label_no_replacement(label.as_bytes());
    let plain = label.trim_ascii().to_ascii_lowercase().replace(['_', ' '], "-");
    if ASCII_NAMES.contains(&&*plain) {
        return Some(ASCII.to_owned());
    }
    let alias = ALIASES.iter().find(|(alias, _)| *alias == plain);
    let encoding = for_label(label)
        .or_else(|| for_label(&plain))
        .or_else(|| for_label(alias?.1))?;
    Some(encoding.name().to_ascii_lowercase())
}

/// Returns the reason why an encoding is not supported, and what the user can do.
pub fn encoding_refused(label: &str) -> String {
    let plain: String = label.chars().filter(char::is_ascii_alphanumeric).collect();
    let plain = plain.to_ascii_lowercase();
    for family in ["utf32", "ucs4", "utf7"] {
        if plain.starts_with(family) {
            let name = format!("{}-{}", family[..3].to_uppercase(), &family[3..]);
            return format!(
                "is not supported: make UTF-8 of the file first, with `iconv -f {name} -t UTF-8 FILE`"
            );
        }
    }
    "is not known: it may be utf-16, latin-1, cp1252 or another name of the Encoding Standard or of Python for one of these; \
     of all else make UTF-8 first, with `iconv`"
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pythons_names_are_known() {
        for (label, name) in [
            ("ascii", "us-ascii"),
            ("us_ascii", "us-ascii"),
            ("US-ASCII", "us-ascii"),
            ("646", "us-ascii"),
            ("ansi_x3.4-1968", "us-ascii"),
            ("latin_1", "windows-1252"),
            ("latin1", "windows-1252"),
            ("iso8859_1", "windows-1252"),
            ("cp1252", "windows-1252"),
            ("windows_1252", "windows-1252"),
            ("cp1250", "windows-1250"),
            ("iso8859_15", "iso-8859-15"),
            ("ISO_8859-15", "iso-8859-15"),
            ("latin9", "iso-8859-15"),
            ("mac_roman", "macintosh"),
            ("mac_cyrillic", "x-mac-cyrillic"),
            ("utf_8", "utf-8"),
            ("UTF8", "utf-8"),
            ("utf_8_sig", "utf-8"),
            ("utf-8-sig", "utf-8"),
            ("utf 8", "utf-8"),
            ("utf_16", "utf-16le"),
            ("utf_16_le", "utf-16le"),
            ("utf_16_be", "utf-16be"),
            ("koi8_r", "koi8-r"),
            ("cp932", "shift_jis"),
            ("euc_jp", "euc-jp"),
            ("iso2022_jp", "iso-2022-jp"),
            ("gb18030", "gb18030"),
            ("cp949", "euc-kr"),
            ("big5", "big5"),
            (" SJIS ", "shift_jis"),
        ] {
            assert_eq!(parse_encoding(label).as_deref(), Some(name), "{label}");
            assert_eq!(
                parse_encoding(name).as_deref(),
                Some(name),
                "a name stands for itself"
            );
        }
        for label in [
            "",
            "utf-17",
            "cp037",
            "utf_32",
            "utf-7",
            "hz",
            "iso-2022-kr",
            "replacement",
        ] {
            assert_eq!(parse_encoding(label), None, "{label}");
        }
    }

    #[test]
    fn each_alias_is_needed_and_names_an_encoding() {
        for (alias, label) in ALIASES {
            assert!(
                Encoding::for_label(alias.as_bytes()).is_none(),
                "{alias} is a label"
            );
            assert!(
                Encoding::for_label_no_replacement(label.as_bytes()).is_some(),
                "{label}"
            );
        }
    }

    #[test]
    fn utf_32_is_named() {
        for label in ["utf-32", "UTF_32", "utf32", "utf_32_le", "UTF-32BE"] {
            assert_eq!(
                encoding_refused(label),
                "is not supported: make UTF-8 of the file first, with `iconv -f UTF-32 -t UTF-8 FILE`"
            );
        }
        assert!(encoding_refused("utf_7").contains("iconv -f UTF-7"));
        assert!(encoding_refused("cp850").starts_with("is not known"));
    }
}
