//! The program `ingest-host`: see [`ingest_host::cli`].

fn main() -> std::process::ExitCode {
    give_back_long_buffers();
    ingest_host::cli::main()
}

/// Has the allocator take each long buffer from the system and give it back when it is freed. Left to itself glibc learns from
/// the first long record to keep such buffers, in up to eight heaps for each core: then a worker's memory would be far above its
/// bound. The trim threshold stands well above the buffers of usual chunks, so that these stay.
fn give_back_long_buffers() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "the allocator has no other way to be told")]
    // SAFETY: it only sets numbers, before any other thread is there.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 8 << 20);
    }
}
