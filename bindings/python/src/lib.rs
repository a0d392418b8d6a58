//! The native module `trop._trop`: translates arguments, results and errors between Python and `trop-core`.

mod arguments;
mod calls;
mod errors;
mod lease;
mod operations;
mod registry;
mod results;

#[pyo3::pymodule(gil_used = false)]
mod _trop {
    use pyo3::prelude::*;
    use pyo3::types::PyDict;

    #[pymodule_export]
    use super::calls::Operations;
    #[pymodule_export]
    use super::lease::Lease;
    #[pymodule_export]
    use super::operations::validate_config;
    #[pymodule_export]
    use super::registry::Registry;
    #[pymodule_export]
    use super::results::{Cleanup, Explanation, LeaseInfo, Migration, Move, Preserved, Reservation, restore};

    #[pymodule_export]
    #[allow(non_upper_case_globals, reason = "the name Python prescribes")]
    const __version__: &str = env!("CARGO_PKG_VERSION");

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let codes = PyDict::new(module.py());
        for code in trop_core::Code::ALL {
            codes.set_item(code.name(), code.number())?;
        }
        module.add("CODES", codes)?;
        module.add("_lease_watchers", super::lease::watchers(module.py()))?;
        module.add_function(wrap_pyfunction!(super::lease::forgotten_ports, module)?)?;
        module.add("_machine", Operations::of_the_machine())
    }
}
