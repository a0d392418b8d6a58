//! Link settings of a Node addon, among them that the end of a worker thread must not unload it: fork
//! handlers and destructors of thread-locals stay registered (`-z nodelete`).

fn main() {
    napi_build::setup();
}
