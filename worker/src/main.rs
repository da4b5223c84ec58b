//! The `diffyne-worker` program, which runs the components of an application.

fn main() -> std::process::ExitCode {
    diffyne_worker::cli::main()
}
