//! The `diffyne-worker` program, which runs the components of an application.

/// Faster than that of the system for the many small parts of states and views.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    diffyne_worker::cli::main()
}
