//! Runs the program `ingest-host`: see [`ingest_host::cli`].

fn main() -> std::process::ExitCode {
    give_back_long_buffers();
    ingest_host::cli::main()
}

/// Makes the allocator take each long buffer from the system and return it when it is freed. By default, glibc learns
/// from the first long record to keep such buffers, in up to eight heaps for each core: a worker's memory would then be
/// far above its bound. The trim threshold is well above the buffers of usual chunks, so these are kept.
fn give_back_long_buffers() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "the allocator has no other way to be told")]
    // SAFETY: this only sets numbers, before any other thread exists.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 8 << 20);
    }
}
