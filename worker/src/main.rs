//! The `diffyne-worker` program, with the demo components.

fn main() -> std::process::ExitCode {
    diffyne_worker::cli::main()
}
