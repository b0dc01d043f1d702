//! Runs the program `ingest-host`: see [`ingest_host::cli`].

fn main() -> std::process::ExitCode {
    give_back_long_buffers();
    ingest_host::cli::main()
}

/// Makes the allocator get each long buffer from the system, and return the buffer when it is freed. By default, the
/// first long record makes glibc keep such buffers, in up to eight heaps for each core. With this default, a worker's
/// memory would far exceed its bound. The trim threshold is well above the size of usual chunks' buffers, so glibc
/// still keeps these buffers.
fn give_back_long_buffers() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "the allocator has no other way to be told")]
    // SAFETY: this only sets numbers, before any other thread exists.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 8 << 20);
    }
}
