//! Resolves host names: names go in; the addresses to which connections are allowed come out.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use reqwest::dns;

use super::access::{Access, AddressPolicy, NotPublic};

/// The function that looks up the addresses of a name.
#[derive(Clone)]
pub(super) struct DnsLookup(Arc<LookupFn>);

type LookupFn = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

impl DnsLookup {
    pub(super) fn new(lookup: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> Self {
        Self(Arc::new(lookup))
    }
}

impl Default for DnsLookup {
    fn default() -> Self {
        Self::new(|name| Ok((name, 0).to_socket_addrs()?.map(|found| found.ip()).collect()))
    }
}

impl fmt::Debug for DnsLookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DnsLookup")
    }
}

/// Resolves names. For a queued URI, it returns only the addresses that the URI may reach. Connections use the
/// addresses that were checked, so there is no second look-up, which a malicious name server could answer differently.
pub(super) struct Resolver {
    pub(super) access: Arc<Access>,
    pub(super) policy: AddressPolicy,
}

impl dns::Resolve for Resolver {
    fn resolve(&self, name: dns::Name) -> dns::Resolving {
        let found = self.addresses(name.as_str().to_owned());
        Box::pin(async move { Ok(Box::new(found.await?.into_iter()) as dns::Addrs) })
    }
}

impl Resolver {
    /// Returns the addresses of a host, all with port 0.
    pub(super) fn addresses(&self, host: String) -> impl Future<Output = Resolved> + use<> {
        let (access, policy) = (Arc::clone(&self.access), self.policy);
        // The look-up by the system blocks its thread.
        let resolving = tokio::task::spawn_blocking(move || addresses(&access, policy, &host));
        async { resolving.await? }
    }
}

pub(super) type Resolved = Result<Vec<SocketAddr>, Box<dyn std::error::Error + Send + Sync>>;

fn addresses(access: &Access, policy: AddressPolicy, host: &str) -> Resolved {
    let found = (access.lookup.0)(host)?;
    let may_reach = |address: &IpAddr| policy == AddressPolicy::Any || access.admits_address(*address);
    let (admitted, refused): (Vec<_>, Vec<_>) = found.into_iter().partition(may_reach);
    if let (true, Some(&address)) = (admitted.is_empty(), refused.first()) {
        let host = host.to_owned();
        return Err(NotPublic { host, address }.into());
    }
    // The HTTP client replaces the port 0 by the port of the URL.
    Ok(admitted
        .into_iter()
        .map(|address| SocketAddr::new(address, 0))
        .collect())
}
