//! The `diffyne-gateway` program.

fn main() -> std::process::ExitCode {
    diffyne_gateway::cli::main()
}
