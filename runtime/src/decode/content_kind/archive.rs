//! Recognizes an archive (ZIP, tar or cpio) by its first bytes. The names of its entries show the kind: for example, a
//! ZIP archive can be a document of an office program.

use memchr::memmem;

use super::{Advice, Kind};
use crate::format::clip;

use Advice::{Convert, Extract, TakeTheFile};

/// The names of entries in ZIP archives, or the beginnings of such names. Each name shows a more specific kind of file.
const ZIP_ENTRIES: &[(&str, &str, Advice)] = &[
    ("xl/", "an Excel workbook (XLSX)", Advice::SaveSheet),
    ("word/", "a Word document (DOCX)", Advice::SaveSheet),
    ("ppt/", "a PowerPoint presentation (PPTX)", TakeTheFile),
    ("Index/", "a Numbers or Pages document", Advice::SaveSheet),
    ("META-INF/", "a Java archive", TakeTheFile),
    ("AndroidManifest.xml", "an Android package", TakeTheFile),
    ("doc.kml", "a KMZ file", Convert),
    (
        "[Content_Types].xml",
        "an Office file (XLSX, DOCX)",
        Advice::SaveSheet,
    ),
];

/// Returns whether bytes begin with the header of a ZIP entry, or are a ZIP archive without entries.
pub(super) fn is_zip(bytes: &[u8]) -> bool {
    match bytes {
        [_, _, 3, 4, 0..=63, 0, ..] => {
            let name_bytes = bytes
                .get(26..28)
                .map(|size| u16::from_le_bytes([size[0], size[1]]));
            bytes.get(9).is_none_or(|method| *method == 0)
                && name_bytes.is_none_or(|size| (1..=1 << 12).contains(&size))
        }
        [_, _, 5, 6, ..] => bytes.get(4..20) == Some(&[0; 16]),
        [_, _, 7, 8, ..] => bytes[4..].starts_with(b"PK\x03\x04"),
        _ => false,
    }
}

/// Returns the kind of a ZIP archive. The entries that begin in the sample show the kind.
pub(super) fn zip(bytes: &[u8]) -> Kind {
    let entries = || {
        memmem::find_iter(bytes, b"PK\x03\x04").filter_map(|at| {
            let header = bytes.get(at..at + 30)?;
            let name_bytes = usize::from(u16::from_le_bytes([header[26], header[27]]));
            let more_bytes = usize::from(u16::from_le_bytes([header[28], header[29]]));
            let name = bytes.get(at + 30..)?.get(..name_bytes)?;
            let content = bytes.get(at + 30 + name_bytes + more_bytes..).unwrap_or_default();
            Some((name, content))
        })
    };
    if let Some((_, content)) = entries().next().filter(|(name, _)| *name == b"mimetype") {
        return open_document(content);
    }
    let by_entry = |(part, what, advice): &(&str, &'static str, Advice)| {
        let mut entries = entries();
        entries
            .any(|(name, _)| name.starts_with(part.as_bytes()))
            .then(|| Kind::new(*what, advice.clone()))
    };
    let kind = ZIP_ENTRIES.iter().find_map(by_entry);
    kind.unwrap_or_else(|| match entries().next() {
        Some((name, _)) => Kind::new(format!("a ZIP archive (of \"{}\")", clip(name)), Extract),
        None => Kind::new("a ZIP archive", Extract),
    })
}

/// Returns the kind of a ZIP archive whose first entry contains its media type.
fn open_document(media_type: &[u8]) -> Kind {
    for (part, what, advice) in [
        (
            &b"application/vnd.oasis.opendocument.spreadsheet"[..],
            "a spreadsheet (ODS)",
            Advice::SaveSheet,
        ),
        (
            b"application/vnd.oasis.opendocument",
            "an OpenDocument file",
            Advice::SaveSheet,
        ),
        (b"application/epub+zip", "an e-book (EPUB)", TakeTheFile),
    ] {
        if media_type.starts_with(part) {
            return Kind::new(what, advice);
        }
    }
    Kind::new("a ZIP archive", Extract)
}

/// Recognizes a tar archive by the numbers and the checksum in its first header, because old archives have no magic
/// bytes.
pub(super) fn tar(bytes: &[u8]) -> Option<Kind> {
    const SUM: std::ops::Range<usize> = 148..156;
    /// The positions of the mode, the owner, the group, the size and the time.
    const NUMBERS: [std::ops::Range<usize>; 5] = [100..108, 108..116, 116..124, 124..136, 136..148];
    let header = bytes.first_chunk::<512>()?;
    // A number is written in octal digits, or in binary with a first byte of at least 0x80.
    let is_number =
        |field: &[u8]| field[0] >= 0x80 || field.iter().all(|byte| matches!(byte, b'0'..=b'7' | b' ' | 0));
    if !header.contains(&0) || !NUMBERS.into_iter().all(|number| is_number(&header[number])) {
        return None;
    }
    let digits = header[SUM].trim_ascii_start();
    let digits = &digits[..digits.iter().position(|byte| !matches!(byte, b'0'..=b'7'))?];
    if digits.is_empty() {
        return None;
    }
    let expected = digits
        .iter()
        .fold(0, |sum, digit| sum * 8 + u32::from(digit - b'0'));
    let sum = (0..).zip(header).map(|(at, &byte)| {
        let byte = if SUM.contains(&at) { b' ' } else { byte };
        u32::from(byte)
    });
    (expected == sum.sum::<u32>()).then(|| {
        let name = header[..100].split(|byte| *byte == 0).next().unwrap_or_default();
        Kind::new(format!("a tar archive (of \"{}\")", clip(name)), Extract)
    })
}

/// Returns whether bytes begin with a cpio header. The numbers in the header have eight hex digits each. In an older
/// format, they have octal digits. After the header comes a name that ends with NUL.
pub(super) fn is_cpio(bytes: &[u8]) -> bool {
    let header = |len: usize, is_digit: fn(&u8) -> bool, size: std::ops::Range<usize>, radix: u32| {
        let digits = bytes.get(6..len).filter(|header| header.iter().all(is_digit))?;
        let size = std::str::from_utf8(&digits[size.start - 6..size.end - 6]).ok()?;
        let name_bytes = usize::from_str_radix(size, radix).ok()?;
        bytes.get(len..)?.get(name_bytes.checked_sub(1)?).copied()
    };
    match bytes {
        [b'0', b'7', b'0', b'7', b'0', b'1' | b'2', ..] => {
            header(110, u8::is_ascii_hexdigit, 94..102, 16) == Some(0)
        }
        [b'0', b'7', b'0', b'7', b'0', b'7', ..] => {
            header(76, |byte| matches!(byte, b'0'..=b'7'), 59..65, 8) == Some(0)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::magic::tests::{kind_of, proved};

    fn zip_of(entries: &[(&str, &str)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, content) in entries {
            bytes.extend(b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
            bytes.extend((name.len() as u16).to_le_bytes());
            bytes.extend([0, 0]);
            bytes.extend(name.as_bytes());
            bytes.extend(content.as_bytes());
        }
        bytes
    }

    #[test]
    fn an_archive_is_distinguished_from_a_document() {
        for (entries, what) in [
            (
                &[("orders.csv", "a,b\n")][..],
                "a ZIP archive (of \"orders.csv\")",
            ),
            (
                &[("[Content_Types].xml", "x"), ("xl/workbook.xml", "x")],
                "an Excel workbook (XLSX)",
            ),
            (
                &[("[Content_Types].xml", "x"), ("word/document.xml", "x")],
                "a Word document (DOCX)",
            ),
            (&[("[Content_Types].xml", "x")], "an Office file (XLSX, DOCX)"),
            (
                &[
                    ("mimetype", "application/vnd.oasis.opendocument.spreadsheet"),
                    ("content.xml", ""),
                ],
                "a spreadsheet (ODS)",
            ),
            (&[("mimetype", "application/epub+zip")], "an e-book (EPUB)"),
            (&[("META-INF/MANIFEST.MF", "")], "a Java archive"),
        ] {
            assert_eq!(kind_of(&zip_of(entries)).as_deref(), Some(what));
        }
        assert_eq!(kind_of(b"PK\x05\x06\0\0").as_deref(), Some("a ZIP archive"));
        assert_eq!(kind_of(b"PK\x03\x04").as_deref(), Some("a ZIP archive"));
        assert_eq!(proved(b"PK\x03\x04"), None, "it may be a header");
        assert!(proved(&zip_of(&[("a.csv", "a,b\n")])).is_some());
        let empty = [&b"PK\x05\x06"[..], &[0; 18]].concat();
        assert_eq!(proved(&empty).as_deref(), Some("a ZIP archive"));
    }

    #[test]
    fn a_tar_archive_is_recognized_by_its_checksum() {
        let mut header = [0; 512];
        header[..10].copy_from_slice(b"orders.csv");
        header[100..107].copy_from_slice(b"0000644");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        assert_eq!(
            kind_of(&header).as_deref(),
            Some("a tar archive (of \"orders.csv\")")
        );
        header[0] = b'O';
        assert_ne!(
            kind_of(&header).as_deref(),
            Some("a tar archive (of \"Orders.csv\")")
        );
        assert_eq!(kind_of("1,2,3\n".repeat(200).as_bytes()), None);
    }

    #[test]
    fn a_text_whose_sum_stands_in_it_is_no_tar_archive() {
        for fill in [b' ', 0] {
            let mut text = [fill; 512];
            for (at, line) in (0..).step_by(32).zip(["id,name,amount\n"; 16]) {
                text[at..at + line.len()].copy_from_slice(line.as_bytes());
            }
            text[147..156].copy_from_slice(b",       ,");
            let sum: u32 = text.iter().map(|&byte| u32::from(byte)).sum();
            let sum = sum - u32::from(b',') + u32::from(b' ');
            text[148..155].copy_from_slice(format!("{sum:06o},").as_bytes());
            assert_eq!(kind_of(&text), None);
        }
    }
}
