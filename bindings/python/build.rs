//! Lets plain cargo link the module on macOS too; maturin does it by itself.

fn main() {
    pyo3_build_config::add_extension_module_link_args();
}
