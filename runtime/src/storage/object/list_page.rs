//! Parses a page of a list of objects: a store's answer in XML goes in; the objects, and the token of the next page, come
//! out.

use percent_encoding::percent_decode_str;
use quick_xml::Reader;
use quick_xml::events::{BytesRef, BytesStart, Event};

use crate::location::Provider;

/// A page of a list of objects.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) objects: Vec<PageObject>,
    /// The token that asks for the next page; none for the last page.
    pub(super) next: Option<String>,
}

/// An object in a page.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct PageObject {
    pub(super) key: String,
    pub(super) bytes: u64,
    /// The entity tag, as the store writes it.
    pub(super) etag: Option<String>,
    /// The generation of an object of Google.
    pub(super) generation: Option<String>,
    /// Set if the store says that this is a folder (Azure with a hierarchical namespace).
    pub(super) is_folder: bool,
}

/// The elements of a store's answer, as paths from the root.
struct Elements {
    object: &'static str,
    key: &'static str,
    bytes: &'static str,
    etag: &'static str,
    next: &'static str,
}

/// The elements of S3. Google has the same.
const S3: Elements = Elements {
    object: "/ListBucketResult/Contents",
    key: "/ListBucketResult/Contents/Key",
    bytes: "/ListBucketResult/Contents/Size",
    etag: "/ListBucketResult/Contents/ETag",
    next: "/ListBucketResult/NextContinuationToken",
};

const AZURE: Elements = Elements {
    object: "/EnumerationResults/Blobs/Blob",
    key: "/EnumerationResults/Blobs/Blob/Name",
    bytes: "/EnumerationResults/Blobs/Blob/Properties/Content-Length",
    etag: "/EnumerationResults/Blobs/Blob/Properties/Etag",
    next: "/EnumerationResults/NextMarker",
};

const GENERATION: &str = "/ListBucketResult/Contents/Generation";
const IS_TRUNCATED: &str = "/ListBucketResult/IsTruncated";
const RESOURCE_TYPE: &str = "/EnumerationResults/Blobs/Blob/Properties/ResourceType";

impl Page {
    /// Parses a page. Keeps each character of a key, blanks at its ends included.
    ///
    /// # Errors
    /// Returns the reason why the text is no whole page.
    pub(super) fn parse(provider: Provider, xml: &[u8]) -> Result<Self, String> {
        let elements = match provider {
            Provider::S3 | Provider::Gcs => &S3,
            Provider::Azure => &AZURE,
        };
        let mut parser = Parser {
            elements,
            page: Self::default(),
            object: None,
            is_truncated: None,
        };
        let xml = xml.strip_prefix(b"\xef\xbb\xbf").unwrap_or(xml);
        let mut reader = Reader::from_reader(xml);
        let (mut path, mut text, mut is_encoded, mut has_root) = (String::new(), String::new(), false, false);
        loop {
            match reader.read_event().map_err(|error| error.to_string())? {
                Event::Start(start) => {
                    enter(&mut path, &start);
                    (is_encoded, has_root) = (is_percent_encoded(&start), true);
                    text.clear();
                    parser.open(&path)?;
                }
                Event::Empty(start) => {
                    let outer = path.len();
                    enter(&mut path, &start);
                    has_root = true;
                    parser.open(&path)?;
                    parser.close(&path, String::new())?;
                    path.truncate(outer);
                    text.clear();
                }
                Event::End(_) => {
                    let mut value = std::mem::take(&mut text);
                    if std::mem::take(&mut is_encoded) {
                        let decoded = percent_decode_str(&value).decode_utf8();
                        value = decoded.map_err(|_| "a name is not UTF-8")?.into_owned();
                    }
                    parser.close(&path, value)?;
                    path.truncate(path.rfind('/').unwrap_or_default());
                }
                Event::Text(part) => text += &part.decode().map_err(|error| error.to_string())?,
                Event::CData(part) => text += &part.decode().map_err(|error| error.to_string())?,
                Event::GeneralRef(reference) => text.push(character(&reference)?),
                Event::Eof if path.is_empty() && has_root => return parser.finish(),
                Event::Eof => return Err("it is cut off".into()),
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
            }
        }
    }
}

fn enter(path: &mut String, start: &BytesStart<'_>) {
    path.push('/');
    path.push_str(&String::from_utf8_lossy(start.local_name().as_ref()));
}

/// Returns whether the text of an element is percent-encoded, as Azure does with names that XML cannot have.
fn is_percent_encoded(start: &BytesStart<'_>) -> bool {
    let encoded = start.try_get_attribute("Encoded").ok().flatten();
    encoded.is_some_and(|encoded| &*encoded.value == b"true")
}

fn character(reference: &BytesRef<'_>) -> Result<char, String> {
    if let Some(character) = reference.resolve_char_ref().map_err(|error| error.to_string())? {
        return Ok(character);
    }
    match &**reference {
        b"amp" => Ok('&'),
        b"lt" => Ok('<'),
        b"gt" => Ok('>'),
        b"quot" => Ok('"'),
        b"apos" => Ok('\''),
        _ => Err("it has an unknown entity".into()),
    }
}

struct Parser {
    elements: &'static Elements,
    page: Page,
    /// The object whose element is open.
    object: Option<PageObject>,
    is_truncated: Option<bool>,
}

impl Parser {
    fn open(&mut self, path: &str) -> Result<(), String> {
        let root = self.elements.object.split('/').nth(1).unwrap_or_default();
        if path.split('/').nth(1) != Some(root) {
            return Err("it is another document".into());
        }
        if path == self.elements.object {
            self.object = Some(PageObject::default());
        }
        Ok(())
    }

    fn close(&mut self, path: &str, text: String) -> Result<(), String> {
        let Elements {
            object,
            key,
            bytes,
            etag,
            next,
        } = self.elements;
        if path == *next {
            self.page.next = Some(text).filter(|token| !token.is_empty());
            return Ok(());
        }
        if path == IS_TRUNCATED {
            self.is_truncated = Some(text.trim() == "true");
            return Ok(());
        }
        if path == *object {
            let object = self.object.take().unwrap_or_default();
            if object.key.is_empty() {
                return Err("an object has no key".into());
            }
            self.page.objects.push(object);
            return Ok(());
        }
        let Some(open) = &mut self.object else {
            return Ok(());
        };
        match path {
            _ if path == *key => open.key = text,
            _ if path == *etag => open.etag = Some(text).filter(|etag| !etag.is_empty()),
            _ if path == *bytes => {
                open.bytes = text.trim().parse().map_err(|_| "an object has no length")?;
            }
            GENERATION => open.generation = Some(text).filter(|generation| !generation.is_empty()),
            RESOURCE_TYPE => open.is_folder = text == "directory",
            _ => {}
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Page, String> {
        match self.is_truncated {
            Some(true) if self.page.next.is_none() => Err("it names no next page".into()),
            Some(false) => {
                self.page.next = None;
                Ok(self.page)
            }
            _ => Ok(self.page),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(page: &Page) -> Vec<&str> {
        page.objects.iter().map(|object| &*object.key).collect()
    }

    #[test]
    fn a_page_of_s3_keeps_each_character_of_a_key() {
        let xml = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\n \
                   <Name>lake</Name><Prefix> x/</Prefix><IsTruncated>true</IsTruncated>\n<Contents><Key> x/ä&amp;&lt;&#x1;&#13;\r %2A*?[ \
                   </Key><ETag>&quot;e-1&quot;</ETag><Size>7</Size><Owner><ID>Key</ID></Owner></Contents>\
                   <CommonPrefixes><Prefix>x/y/</Prefix></CommonPrefixes><Contents><Key>b</Key><Size>0</Size><ETag/>\
                   </Contents><NextContinuationToken>t+/=</NextContinuationToken></ListBucketResult>\n";
        let page = Page::parse(Provider::S3, xml.as_bytes()).unwrap();
        assert_eq!(page.next.as_deref(), Some("t+/="));
        assert_eq!(keys(&page), [" x/ä&<\u{1}\r\r %2A*?[ ", "b"]);
        let first = &page.objects[0];
        assert_eq!((first.bytes, first.etag.as_deref()), (7, Some("\"e-1\"")));
        assert_eq!(page.objects[1].etag, None);
    }

    #[test]
    fn a_page_of_google_has_generations() {
        let xml = "<ListBucketResult><IsTruncated>false</IsTruncated><NextContinuationToken>x</NextContinuationToken><Contents>\
                   <Key>a.csv</Key><Generation>17</Generation><Size>1</Size><ETag>\"e\"</ETag></Contents></ListBucketResult>";
        let page = Page::parse(Provider::Gcs, xml.as_bytes()).unwrap();
        assert_eq!(page.objects[0].generation.as_deref(), Some("17"));
        assert_eq!(page.next, None, "the last page has no next one");
    }

    #[test]
    fn a_page_of_azure_names_folders_and_decodes_names() {
        let xml = "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults ContainerName=\"c\"><Blobs>\
                   <Blob><Name>d</Name><Properties><Content-Length>0</Content-Length><ResourceType>directory</ResourceType></Properties></Blob>\
                   <BlobPrefix><Name>p/</Name></BlobPrefix>\
                   <Blob><Name Encoded=\"true\">d%EF%BF%BF%20</Name><Properties><Etag>0x8D</Etag><Content-Length>5</Content-Length>\
                   </Properties><Metadata><Name>m</Name></Metadata></Blob></Blobs><NextMarker /></EnumerationResults>";
        let page = Page::parse(Provider::Azure, xml.as_bytes()).unwrap();
        assert_eq!(keys(&page), ["d", "d\u{ffff} "]);
        assert!(page.objects[0].is_folder && !page.objects[1].is_folder);
        assert_eq!(
            (page.objects[1].bytes, page.objects[1].etag.as_deref()),
            (5, Some("0x8D"))
        );
        assert_eq!(page.next, None);
    }

    #[test]
    fn half_a_page_is_none() {
        let whole = "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken><Contents>\
                     <Key>a&amp;b</Key><Size>1</Size></Contents></ListBucketResult>";
        Page::parse(Provider::S3, whole.as_bytes()).unwrap();
        for end in 0..whole.len() {
            let part = &whole.as_bytes()[..end];
            assert!(Page::parse(Provider::S3, part).is_err(), "{end}");
        }
        for (xml, why) in [
            ("<Error><Code>x</Code></Error>", "another document"),
            (
                "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
                "no next page",
            ),
            (
                "<ListBucketResult><Contents><Size>1</Size></Contents></ListBucketResult>",
                "no key",
            ),
            (
                "<ListBucketResult><Contents><Key>a</Key><Size>-1</Size></Contents></ListBucketResult>",
                "no length",
            ),
            (
                "<ListBucketResult><Contents><Key>&x;</Key></Contents></ListBucketResult>",
                "entity",
            ),
        ] {
            let error = Page::parse(Provider::S3, xml.as_bytes()).expect_err(xml);
            assert!(error.contains(why), "{error}");
        }
    }
}
