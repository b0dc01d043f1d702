//! Sets up the one TLS implementation of this program, for HTTP and Redis alike.

use std::sync::Once;

/// Makes *ring* the provider of cryptography for TLS, unless the program has chosen another one.
pub(crate) fn install_provider() {
    static ONCE: Once = Once::new();
    // This fails if there is a provider already, which is fine.
    ONCE.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
}
