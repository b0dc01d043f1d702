//! The one TLS implementation of this program, for HTTP and Redis alike.

use std::sync::Once;

/// Makes *ring* the provider of cryptography for TLS, unless the program has chosen another one.
pub(crate) fn install_provider() {
    static ONCE: Once = Once::new();
    // Fails if there is a provider already, which is as good.
    ONCE.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
}
