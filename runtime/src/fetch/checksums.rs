//! Checks the digests that a server announces. The headers of an answer and the digest of the received bytes go in. An
//! error comes out if a digest differs.
//!
//! The headers are `Content-MD5` (RFC 1864), `Digest` (RFC 3230), `Repr-Digest` and `Content-Digest` (RFC 9530), and
//! those of object stores: `x-amz-checksum-*` and `x-goog-hash`. Other algorithms are ignored, and so are values that
//! cannot be read.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crc_fast::CrcAlgorithm;
use data_encoding::HEXLOWER;
use reqwest::header::HeaderMap;

use super::range_request::shown;

/// A digest algorithm whose digests are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Sha256,
    Md5,
    Crc32,
    Crc32c,
    Crc64Nvme,
}

impl Algorithm {
    fn of_name(name: &str) -> Option<Self> {
        [Self::Sha256, Self::Md5]
            .into_iter()
            .find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha-256",
            Self::Md5 => "md5",
            Self::Crc32 => "crc32",
            Self::Crc32c => "crc32c",
            Self::Crc64Nvme => "crc64nvme",
        }
    }

    fn bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Md5 => 16,
            Self::Crc64Nvme => 8,
            Self::Crc32 | Self::Crc32c => 4,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Checksum {
    header: &'static str,
    algorithm: Algorithm,
    hex: String,
}

/// The digests that an answer announces.
#[derive(Debug, Clone, Default)]
pub(super) struct Checksums(Vec<Checksum>);

impl Checksums {
    /// Returns the announced digests of a file. `headers` are the headers of the answer that begins with the first byte
    /// of the file. The digests cover the whole file, even if the transfer breaks off and another answer has the end of
    /// the file.
    pub(super) fn of_file(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        for value in texts(headers, "content-md5") {
            found.add("Content-MD5", Algorithm::Md5, value);
        }
        found.add_those_of_whole(headers);
        found.add_fields(headers, "Content-Digest");
        found.add_those_of_s3(headers);
        found.add_those_of_google(headers);
        found
    }

    /// Adds the checksums of S3 that cover the whole object. A composite checksum covers the checksums of an upload's
    /// parts; it ends with their number, as in `...-12`.
    fn add_those_of_s3(&mut self, headers: &HeaderMap) {
        let is_composite =
            texts(headers, "x-amz-checksum-type").any(|kind| kind.eq_ignore_ascii_case("COMPOSITE"));
        if is_composite {
            return;
        }
        for (header, algorithm) in [
            ("x-amz-checksum-sha256", Algorithm::Sha256),
            ("x-amz-checksum-crc64nvme", Algorithm::Crc64Nvme),
            ("x-amz-checksum-crc32c", Algorithm::Crc32c),
            ("x-amz-checksum-crc32", Algorithm::Crc32),
        ] {
            for value in texts(headers, header).filter(|value| !value.contains('-')) {
                self.add(header, algorithm, value);
            }
        }
    }

    /// Adds the checksum of Google, which covers the object as it is stored. There is always a CRC; an MD5 would keep a
    /// long input from being resumed by another worker.
    fn add_those_of_google(&mut self, headers: &HeaderMap) {
        let encoding = |name| {
            texts(headers, name)
                .next()
                .filter(|&encoding| encoding != "identity")
        };
        if encoding("x-goog-stored-content-encoding") != encoding("content-encoding") {
            return;
        }
        for member in members(headers, "x-goog-hash") {
            if let Some(value) = member.trim().strip_prefix("crc32c=") {
                self.add("x-goog-hash", Algorithm::Crc32c, value);
            }
        }
    }

    /// Checks the headers of an answer with the rest of a file. If this answer announces a digest of the whole file,
    /// the first answer must have announced the same digest.
    ///
    /// # Errors
    /// Returns the reason why the rest could belong to another file.
    pub(super) fn check_those_of_rest(&self, headers: &HeaderMap) -> Result<(), String> {
        let mut of_rest = Self::default();
        of_rest.add_those_of_whole(headers);
        for Checksum {
            header,
            algorithm,
            hex,
        } in &of_rest.0
        {
            let name = algorithm.name();
            match self.announced(*algorithm).as_slice() {
                [] => {
                    return Err(format!(
                        "its {header} announces the {name} of the file, which the first answer did not"
                    ));
                }
                before if before.contains(hex) => {}
                before => {
                    return Err(format!(
                        "the file has changed, its {name} was {} and is {hex}",
                        before[0]
                    ));
                }
            }
        }
        Ok(())
    }

    /// Adds the digests that cover the whole file even if the answer contains only a part of the file.
    fn add_those_of_whole(&mut self, headers: &HeaderMap) {
        for member in members(headers, "digest") {
            if let Some((algorithm, value)) = named(member) {
                self.add("Digest", algorithm, value);
            }
        }
        self.add_fields(headers, "Repr-Digest");
    }

    /// Makes `Checksums` of `sha256`: the digests of the whole file, in hex, that the first answer announced.
    pub(super) fn announced_before(sha256: &[String]) -> Self {
        let checksum = |hex: &String| Checksum {
            header: "its first answer",
            algorithm: Algorithm::Sha256,
            hex: hex.clone(),
        };
        Self(sha256.iter().map(checksum).collect())
    }

    /// Returns the announced digests of this algorithm, in lowercase hex.
    pub(super) fn announced(&self, algorithm: Algorithm) -> Vec<String> {
        let these = self.0.iter().filter(|checksum| checksum.algorithm == algorithm);
        these.map(|checksum| checksum.hex.clone()).collect()
    }

    /// Returns the announced digests of the content of an answer that contains a part of a file. Leaves out digests of
    /// the whole file.
    pub(super) fn of_part(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        found.add_fields(headers, "Content-Digest");
        found
    }

    /// Adds the SHA-256 digests in a header of RFC 9530. The header is a dictionary of algorithms and digests (RFC
    /// 8941). Each digest is in base64 between colons. A strict parser, such as the crate `sfv`, discards the whole
    /// header because of one malformed member or one capital letter. With such a parser, the digests in a partly
    /// malformed header would not be checked.
    fn add_fields(&mut self, headers: &HeaderMap, header: &'static str) {
        for member in members(headers, header) {
            let Some((algorithm @ Algorithm::Sha256, value)) = named(member) else {
                continue;
            };
            let value = value.split(';').next().unwrap_or_default().trim();
            if let Some(value) = value.strip_prefix(':').and_then(|value| value.strip_suffix(':')) {
                self.add(header, algorithm, value);
            }
        }
    }

    fn add(&mut self, header: &'static str, algorithm: Algorithm, base64: &str) {
        match STANDARD.decode(base64.trim()) {
            Ok(digest) if digest.len() == algorithm.bytes() => {
                let hex = HEXLOWER.encode(&digest);
                self.0.push(Checksum {
                    header,
                    algorithm,
                    hex,
                });
            }
            _ => tracing::warn!(
                header,
                base64 = shown(base64.as_bytes()),
                "a server announced a digest that cannot be read"
            ),
        }
    }

    /// Returns the cyclic redundancy checks among the announced digests.
    pub(super) fn crcs(&self) -> Vec<Crc> {
        let announced = self.0.iter().filter_map(|checksum| Crc::new(checksum.algorithm));
        let mut crcs: Vec<Crc> = Vec::new();
        for crc in announced {
            if !crcs.iter().any(|known| known.algorithm == crc.algorithm) {
                crcs.push(crc);
            }
        }
        crcs
    }

    /// Returns whether there is a digest of this algorithm.
    pub(super) fn has(&self, algorithm: Algorithm) -> bool {
        self.0.iter().any(|checksum| checksum.algorithm == algorithm)
    }

    /// Returns whether there are no digests.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Compares the announced digests of this algorithm with the digest of the received bytes.
    ///
    /// # Errors
    /// Fails if a digest differs. The error names the header, its digest, and the digest of the received bytes.
    pub(super) fn check(&self, algorithm: Algorithm, came: &str) -> Result<(), String> {
        let wrong = |checksum: &&Checksum| checksum.algorithm == algorithm && checksum.hex != came;
        match self.0.iter().find(wrong) {
            None => Ok(()),
            Some(Checksum { header, hex, .. }) => {
                let name = algorithm.name();
                Err(format!(
                    "damaged on its way: {header} says {name} {hex}, and {came} came"
                ))
            }
        }
    }
}

/// A cyclic redundancy check of bytes.
pub(super) struct Crc {
    pub(super) algorithm: Algorithm,
    digest: crc_fast::Digest,
}

impl Crc {
    fn new(algorithm: Algorithm) -> Option<Self> {
        let crc = match algorithm {
            Algorithm::Crc32 => CrcAlgorithm::Crc32IsoHdlc,
            Algorithm::Crc32c => CrcAlgorithm::Crc32Iscsi,
            Algorithm::Crc64Nvme => CrcAlgorithm::Crc64Nvme,
            Algorithm::Sha256 | Algorithm::Md5 => return None,
        };
        let digest = crc_fast::Digest::new(crc);
        Some(Self { algorithm, digest })
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
    }

    /// Returns the check of all bytes, in lowercase hex.
    pub(super) fn finish(&self) -> String {
        let bytes = self.digest.finalize().to_be_bytes();
        HEXLOWER.encode(&bytes[bytes.len() - self.algorithm.bytes()..])
    }
}

fn texts<'a>(headers: &'a HeaderMap, header: &str) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(header)
        .iter()
        .filter_map(|value| value.to_str().ok())
}

/// Returns the members of a header whose value is a list. The list can span several header lines.
fn members<'a>(headers: &'a HeaderMap, header: &str) -> impl Iterator<Item = &'a str> {
    texts(headers, header).flat_map(|line| line.split(','))
}

fn named(member: &str) -> Option<(Algorithm, &str)> {
    let (name, value) = member.split_once('=')?;
    Some((Algorithm::of_name(name.trim())?, value))
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;

    // These are the digests of the empty input.
    const SHA256: &str = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
    const SHA256_HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const MD5: &str = "1B2M2Y8AsgTpgAmY7PhCfg==";
    const MD5_HEX: &str = "d41d8cd98f00b204e9800998ecf8427e";

    fn headers(lines: &[(&str, String)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name = HeaderName::try_from(*name).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn found(checksums: &Checksums) -> Vec<(&str, Algorithm, &str)> {
        let one = |c: &'_ Checksum| (c.header, c.algorithm);
        let hex = checksums.0.iter().map(|checksum| checksum.hex.as_str());
        checksums
            .0
            .iter()
            .map(one)
            .zip(hex)
            .map(|((header, algorithm), hex)| (header, algorithm, hex))
            .collect()
    }

    #[test]
    fn each_header_is_read_in_its_own_way() {
        let sha256 = |header| vec![(header, Algorithm::Sha256, SHA256_HEX)];
        let md5 = |header| vec![(header, Algorithm::Md5, MD5_HEX)];
        for (name, value, of_file) in [
            ("content-md5", MD5.to_owned(), md5("Content-MD5")),
            ("digest", format!("SHA-256={SHA256}"), sha256("Digest")),
            ("digest", format!("unixsum=30637,md5={MD5}, sha=x"), md5("Digest")),
            (
                "repr-digest",
                format!("sha-512=:YQ==:,sha-256=:{SHA256}:"),
                sha256("Repr-Digest"),
            ),
            (
                "content-digest",
                format!("sha-256=:{SHA256}:;x=1"),
                sha256("Content-Digest"),
            ),
        ] {
            let headers = headers(&[(name, value)]);
            let checksums = Checksums::of_file(&headers);
            assert_eq!(found(&checksums), of_file, "{name}");
            let of_part = if name == "content-digest" {
                of_file.len()
            } else {
                0
            };
            assert_eq!(Checksums::of_part(&headers).0.len(), of_part, "{name}");
        }
    }

    #[test]
    fn checksums_of_object_stores_count_if_they_cover_the_whole_object() {
        // These are the checks of "123456789", from the catalogue of CRC algorithms.
        for (header, value, hex) in [
            ("x-amz-checksum-crc32", "y/Q5Jg==", "cbf43926"),
            ("x-amz-checksum-crc32c", "4waSgw==", "e3069283"),
            ("x-amz-checksum-crc64nvme", "rosUhgp5mIg=", "ae8b14860a799888"),
            ("x-goog-hash", "crc32c=4waSgw==", "e3069283"),
        ] {
            let checksums = Checksums::of_file(&headers(&[(header, value.to_owned())]));
            let mut crcs = checksums.crcs();
            let [crc] = &mut crcs[..] else { panic!("{header}") };
            crc.update(b"1234");
            crc.update(b"56789");
            assert_eq!(crc.finish(), hex);
            checksums.check(crc.algorithm, &crc.finish()).unwrap();
            assert!(checksums.check(crc.algorithm, "00").is_err());
        }
        for lines in [
            &[("x-amz-checksum-crc32", "y/Q5Jg==-2")][..],
            &[
                ("x-amz-checksum-crc32", "y/Q5Jg=="),
                ("x-amz-checksum-type", "COMPOSITE"),
            ],
            &[("x-amz-checksum-sha1", "YQ==")],
            &[("x-goog-hash", "md5=1B2M2Y8AsgTpgAmY7PhCfg==")],
            &[
                ("x-goog-hash", "crc32c=4waSgw=="),
                ("x-goog-stored-content-encoding", "gzip"),
            ],
        ] {
            let lines: Vec<_> = lines
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned()))
                .collect();
            assert!(Checksums::of_file(&headers(&lines)).is_empty(), "{lines:?}");
        }
        let lines = [
            (
                "x-goog-hash",
                "crc32c=4waSgw==,md5=1B2M2Y8AsgTpgAmY7PhCfg==".to_owned(),
            ),
            ("x-goog-stored-content-encoding", "gzip".to_owned()),
            ("content-encoding", "gzip".to_owned()),
        ];
        let of_gzip = Checksums::of_file(&headers(&lines));
        assert!(of_gzip.has(Algorithm::Crc32c) && !of_gzip.has(Algorithm::Md5));
        let sha256 = Checksums::of_file(&headers(&[("x-amz-checksum-sha256", SHA256.to_owned())]));
        assert_eq!(sha256.announced(Algorithm::Sha256), [SHA256_HEX]);
    }

    #[test]
    fn what_cannot_be_read_is_left_aside() {
        for (name, value) in [
            ("content-md5", "d41d8cd98f00b204e9800998ecf8427e".to_owned()),
            ("content-md5", SHA256.to_owned()),
            ("digest", format!("sha-256={SHA256_HEX}")),
            ("digest", format!("sha-256=:{SHA256}:")),
            ("digest", "sha-256".to_owned()),
            ("repr-digest", format!("sha-256={SHA256}")),
            ("repr-digest", format!("sha-256=:{SHA256}")),
            ("repr-digest", "sha-256=:YQ==:".to_owned()),
            ("content-digest", "sha-256=::".to_owned()),
            ("content-digest", format!("md5=:{MD5}:")),
        ] {
            assert!(
                Checksums::of_file(&headers(&[(name, value.clone())])).is_empty(),
                "{name}: {value}"
            );
        }
    }

    #[test]
    fn each_of_several_must_hold() {
        let other = STANDARD.encode([7; 32]);
        let lines = [
            ("digest", format!("sha-256={SHA256},md5={MD5}")),
            ("repr-digest", format!("sha-256=:{other}:")),
        ];
        let checksums = Checksums::of_file(&headers(&lines));
        assert!(checksums.has(Algorithm::Md5) && checksums.has(Algorithm::Sha256));
        assert_eq!(checksums.check(Algorithm::Md5, MD5_HEX), Ok(()));
        let why = checksums
            .check(Algorithm::Sha256, SHA256_HEX)
            .expect_err("one is another");
        let announced = "07".repeat(32);
        assert_eq!(
            why,
            format!("damaged on its way: Repr-Digest says sha-256 {announced}, and {SHA256_HEX} came")
        );
    }
}
