//! Decides which hosts and files a queued URI may reach. A producer must not be able to read data that only the worker
//! can reach: on the worker's network, in a cloud's metadata service, or on the worker's disk.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use url::{Host, Url};

use super::dns::DnsLookup;
use crate::error::{Code, Error, Result, Stage};
use crate::location::{ObjectPrefix, ObjectUri, redact};

/// The hosts, networks, folders and buckets that queued URIs may reach in addition to public addresses. The operator
/// names them. By default, there are none.
#[derive(Debug, Default)]
pub struct Access {
    hosts: Vec<HostRule>,
    networks: Vec<IpNet>,
    roots: Vec<Root>,
    buckets: Vec<ObjectPrefix>,
    pub(super) lookup: DnsLookup,
}

#[derive(Debug)]
struct HostRule {
    host: Host<String>,
    port: Option<u16>,
}

#[derive(Debug)]
struct Root {
    as_given: PathBuf,
    real: PathBuf,
}

/// The addresses that a connection to an admitted host may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AddressPolicy {
    /// Any address of the host, because the operator has named the host.
    Any,
    /// Only addresses of the host that [`Access::admits_address`] allows.
    Guarded,
}

impl Access {
    /// Returns the access for `hosts` and `roots`. A host is one of these:
    ///
    /// - a name, which allows exactly that host, whatever addresses it has
    /// - an address, or a network in CIDR notation, which also allows every name that resolves to this address, or to
    ///   an address in this network
    /// - a name or an address with a port (`intranet:8080`, `[fd00::1]:8080`), which allows only this port, and only if
    ///   the URI contains the same name or address
    ///
    /// A root is a folder below which files may be read.
    ///
    /// # Errors
    /// Fails permanently if a host cannot be parsed or a root is not a folder.
    pub fn new(hosts: &[String], roots: &[PathBuf]) -> Result<Self> {
        let mut access = Self::default();
        for host in hosts {
            access.allow_host(host)?;
        }
        for root in roots {
            access.allow_root(root)?;
        }
        Ok(access)
    }

    /// Also allows the objects of these buckets, each written `s3://BUCKET` or `s3://BUCKET/PREFIX/`.
    ///
    /// # Errors
    /// Fails permanently if one is written in another way.
    pub fn allowing_buckets(mut self, buckets: &[String]) -> Result<Self> {
        for text in buckets {
            let refused = |why| {
                let what = format!("--allow-bucket {}: {why}", redact(text));
                Error::permanent(Stage::Config, Code::Usage, what)
            };
            self.buckets.push(ObjectPrefix::parse(text).map_err(refused)?);
        }
        Ok(self)
    }

    /// Returns the allowed buckets and prefixes.
    pub fn buckets(&self) -> &[ObjectPrefix] {
        &self.buckets
    }

    /// Checks that a queued URI may read an object.
    pub(super) fn admit_object(&self, object: &ObjectUri) -> Result<()> {
        if self.buckets.iter().any(|allowed| allowed.contains(object)) {
            return Ok(());
        }
        // The narrowest prefix that contains the object.
        let folder = object.key.rsplit_once('/').map(|(folder, _)| folder);
        let prefix = ObjectPrefix {
            provider: object.provider,
            bucket: object.bucket.clone(),
            prefix: folder.map_or_else(String::new, |folder| format!("{folder}/")),
        };
        let is_known =
            |allowed: &ObjectPrefix| (allowed.provider, &allowed.bucket) == (object.provider, &object.bucket);
        let what = match self.buckets.iter().any(is_known) {
            true => "is not below an allowed prefix; a queued URI reads it only with --allow-bucket",
            false => "is in a bucket that is not allowed; a queued URI reads it only with --allow-bucket",
        };
        Err(Error::permanent(
            Stage::Fetch,
            Code::BucketRefused,
            format!(
                "{}: {what} {}",
                redact(&object.to_string()),
                redact(&prefix.to_string())
            ),
        ))
    }

    /// Resolves names with `lookup` instead of the system's resolver. `lookup` is called on a thread that is allowed to
    /// block.
    #[must_use]
    pub fn looking_up(
        mut self,
        lookup: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static,
    ) -> Self {
        self.lookup = DnsLookup::new(lookup);
        self
    }

    fn allow_host(&mut self, text: &str) -> Result<()> {
        if let Ok(network) = text.parse::<IpNet>() {
            self.networks.push(network);
            return Ok(());
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            self.networks.push(address.to_canonical().into());
            return Ok(());
        }
        let refused = || {
            let rules =
                "a host is a name, an address or a network, as in intranet, 10.0.0.5:8080 or 10.0.0.0/8";
            Error::permanent(
                Stage::Config,
                Code::Usage,
                format!("--allow-host {}: {rules}", redact(text)),
            )
        };
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !text.ends_with(']') => (host, Some(port.parse().map_err(|_| refused())?)),
            _ => (text, None),
        };
        if host.contains('*') {
            return Err(refused());
        }
        match (
            spelled_once(Host::parse(host).map_err(|error| refused().because(error))?),
            port,
        ) {
            (Host::Ipv4(address), None) => self.networks.push(IpAddr::from(address).into()),
            (Host::Ipv6(address), None) => self.networks.push(IpAddr::from(address).into()),
            (host, port) => self.hosts.push(HostRule { host, port }),
        }
        Ok(())
    }

    fn allow_root(&mut self, folder: &Path) -> Result<()> {
        let refused = |error| {
            Error::permanent(
                Stage::Config,
                Code::Usage,
                format!(
                    "--allow-root {}: not a folder to read from",
                    redact(&folder.to_string_lossy())
                ),
            )
            .because(error)
        };
        let real = folder.canonicalize().map_err(refused)?;
        if !real.is_dir() {
            return Err(refused(io::ErrorKind::NotADirectory.into()));
        }
        let as_given = std::path::absolute(folder).map_err(refused)?;
        self.roots.push(Root { as_given, real });
        Ok(())
    }

    /// Returns the address policy for the host of a queued URL, or the reason why no connection to the host is allowed.
    pub(super) fn admit(&self, url: &Url) -> Result<AddressPolicy, NotPublic> {
        let Some(host) = url.host() else {
            // This cannot happen: http and https URLs have a host.
            return Ok(AddressPolicy::Guarded);
        };
        let host = spelled_once(host.to_owned());
        let port = url.port_or_known_default();
        if self
            .hosts
            .iter()
            .any(|rule| rule.host == host && (rule.port.is_none() || rule.port == port))
        {
            return Ok(AddressPolicy::Any);
        }
        match host {
            Host::Domain(_) => Ok(AddressPolicy::Guarded),
            Host::Ipv4(address) => self.admit_literal(address.into()),
            Host::Ipv6(address) => self.admit_literal(address.into()),
        }
    }

    fn admit_literal(&self, address: IpAddr) -> Result<AddressPolicy, NotPublic> {
        if self.admits_address(address) {
            return Ok(AddressPolicy::Guarded);
        }
        Err(NotPublic {
            host: address.to_string(),
            address,
        })
    }

    /// Returns whether a connection to this address is allowed: the address must be public, or in a network that the
    /// operator has named.
    pub(super) fn admits_address(&self, address: IpAddr) -> bool {
        // For the address ::ffff:10.0.0.5, the kernel connects to 10.0.0.5.
        let connected = address.to_canonical();
        is_public(address) || self.networks.iter().any(|network| network.contains(&connected))
    }

    /// Splits a path without symbolic links into an allowed root and the rest of the path. Returns `None` if the path
    /// is not below an allowed root.
    pub(super) fn root_of<'a, 'p>(&'a self, real: &'p Path) -> Option<(&'a Path, &'p Path)> {
        self.roots
            .iter()
            .find_map(|root| Some((root.real.as_path(), real.strip_prefix(&root.real).ok()?)))
    }

    /// Returns whether an absolute path is below an allowed root. Compares only the text of the paths, and does not
    /// follow symbolic links. Returns false for every path with `..`.
    pub(super) fn spells_root(&self, path: &Path) -> bool {
        use std::path::Component::ParentDir;
        let below = |root: &Root| path.starts_with(&root.as_given) || path.starts_with(&root.real);
        !path.components().any(|part| part == ParentDir) && self.roots.iter().any(below)
    }
}

/// Returns the canonical form of a host: `example.com.` is `example.com`, and `::ffff:10.0.0.5` is `10.0.0.5`.
fn spelled_once(host: Host<String>) -> Host<String> {
    match host {
        Host::Domain(name) => Host::Domain(name.strip_suffix('.').unwrap_or(&name).to_owned()),
        Host::Ipv6(address) => match address.to_canonical() {
            IpAddr::V4(address) => Host::Ipv4(address),
            IpAddr::V6(address) => Host::Ipv6(address),
        },
        address @ Host::Ipv4(_) => address,
    }
}

/// The error for a queued URI whose host has an address that is neither public nor allowed by the operator.
#[derive(Debug, Clone)]
pub(super) struct NotPublic {
    pub(super) host: String,
    pub(super) address: IpAddr,
}

impl fmt::Display for NotPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, address } = self;
        if *host == address.to_string() {
            write!(f, "{address} is not a public address")?;
        } else {
            write!(f, "{host} has the address {address}, which is not public")?;
        }
        write!(f, "; a queued URI reaches it only with --allow-host {host}")
    }
}

impl std::error::Error for NotPublic {}

/// The IPv4 networks that are not public. They come from the IANA special-purpose registry (RFC 6890 and later), with
/// two exceptions: multicast, and the address at which Azure's platform answers its virtual machines.
const NOT_PUBLIC_V4: [Ipv4Net; 16] = [
    v4([0, 0, 0, 0], 8),        // this network
    v4([10, 0, 0, 0], 8),       // private
    v4([100, 64, 0, 0], 10),    // carrier-grade NAT
    v4([127, 0, 0, 0], 8),      // loopback
    v4([168, 63, 129, 16], 32), // Azure's platform
    v4([169, 254, 0, 0], 16),   // link-local, cloud metadata
    v4([172, 16, 0, 0], 12),    // private
    v4([192, 0, 0, 0], 24),     // protocol assignments
    v4([192, 0, 2, 0], 24),     // documentation
    v4([192, 88, 99, 0], 24),   // 6to4 relays
    v4([192, 168, 0, 0], 16),   // private
    v4([198, 18, 0, 0], 15),    // benchmarks
    v4([198, 51, 100, 0], 24),  // documentation
    v4([203, 0, 113, 0], 24),   // documentation
    v4([224, 0, 0, 0], 4),      // multicast
    v4([240, 0, 0, 0], 4),      // reserved, broadcast
];

/// The IPv6 network from which all public addresses are assigned. It does not contain the addresses for loopback,
/// mapped and compatible IPv4, NAT64, unique-local, link-local and multicast.
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0], 3);

/// The networks within [`GLOBAL_V6`] that are not public.
const NOT_PUBLIC_V6: [Ipv6Net; 4] = [
    v6([0x2001, 0], 23),     // protocol assignments, Teredo
    v6([0x2001, 0xdb8], 32), // documentation
    v6([0x2002, 0], 16),     // 6to4
    v6([0x3fff, 0], 20),     // documentation
];

const fn v4([a, b, c, d]: [u8; 4], prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6([a, b]: [u16; 2], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), prefix)
}

/// Returns whether an address is public. An IPv6 address that contains an IPv4 address never counts as public, because
/// nobody publishes files under such addresses.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !NOT_PUBLIC_V4.iter().any(|network| network.contains(&address)),
        IpAddr::V6(address) => {
            GLOBAL_V6.contains(&address) && !NOT_PUBLIC_V6.iter().any(|network| network.contains(&address))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowing(hosts: &[&str]) -> Access {
        let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
        Access::new(&hosts, &[]).unwrap()
    }

    fn admit(access: &Access, url: &str) -> Option<AddressPolicy> {
        access.admit(&Url::parse(url).unwrap()).ok()
    }

    #[test]
    fn public_addresses_are_told_from_the_others() {
        for public in [
            "1.1.1.1",
            "8.8.8.8",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "2a00:1450::1",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for other in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.19.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(other.parse().unwrap()), "{other}");
        }
    }

    #[test]
    fn a_rule_covers_what_it_names_and_no_more() {
        let access = allowing(&[
            "Intranet",
            "files.example:8080",
            "10.1.0.0/16",
            "[fd00::1]:81",
            "192.168.0.7",
            "::ffff:172.16.0.9",
            "[::ffff:172.16.0.8]:82",
        ]);
        for (url, policy) in [
            ("http://[::ffff:172.16.0.9]/", Some(AddressPolicy::Guarded)),
            ("http://172.16.0.9/", Some(AddressPolicy::Guarded)),
            ("http://172.16.0.8:82/", Some(AddressPolicy::Any)),
            ("http://[::ffff:172.16.0.8]:82/", Some(AddressPolicy::Any)),
            ("http://172.16.0.8/", None),
            ("http://intranet/x", Some(AddressPolicy::Any)),
            ("http://INTRANET.:99/x", Some(AddressPolicy::Any)),
            ("http://files.example:8080/", Some(AddressPolicy::Any)),
            ("http://files.example/", Some(AddressPolicy::Guarded)),
            ("http://sub.intranet/", Some(AddressPolicy::Guarded)),
            ("http://10.1.2.3/", Some(AddressPolicy::Guarded)),
            ("http://[::ffff:10.1.2.3]/", Some(AddressPolicy::Guarded)),
            ("http://10.2.2.3/", None),
            ("http://[fd00::1]:81/", Some(AddressPolicy::Any)),
            ("http://[fd00::1]/", None),
            ("http://192.168.0.7:9/", Some(AddressPolicy::Guarded)),
            ("http://8.8.8.8/", Some(AddressPolicy::Guarded)),
        ] {
            assert_eq!(admit(&access, url), policy, "{url}");
        }
    }

    #[test]
    fn a_rule_that_cannot_be_read_is_refused() {
        for rule in [
            "",
            "http://intranet",
            "intranet/x",
            "*.example",
            "a b",
            "intranet:port",
            "10.0.0.0/33",
            "u@h",
        ] {
            let error = Access::new(&[rule.to_owned()], &[]).expect_err(rule);
            assert!(error.to_string().starts_with("--allow-host"), "{error}");
        }
        let error = Access::new(&[], &["/no/such/folder".into()]).expect_err("missing");
        assert_eq!(
            error.to_string(),
            "--allow-root /no/such/folder: not a folder to read from"
        );
    }
}
