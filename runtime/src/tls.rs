//! Sets up the TLS implementation that this program uses for both HTTP and Redis.

use std::sync::Once;

/// Makes *ring* the provider of cryptography for TLS, if the program has not chosen another provider.
pub(crate) fn install_provider() {
    static ONCE: Once = Once::new();
    // This call fails if there is a provider already, which is no problem.
    ONCE.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
}
