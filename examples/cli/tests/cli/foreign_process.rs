//! `trop reserve` warns when a program of another directory uses the key's port.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::{Machine, Outcome, port, run, text};

// Each test has ports of its own: tests that run at the same time expect nobody on those that they get.

/// A program that uses a port until it is dropped.
struct Server(Child);

impl Server {
    /// Starts one in a directory, with a statement of Python that makes its socket.
    fn start(directory: &Path, socket: &str) -> Server {
        let program = format!("import socket, sys\nkept = {socket}\nprint(flush=True)\nsys.stdin.read()");
        let mut command = Command::new("python3");
        command.args(["-c", &program]).current_dir(directory).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "\n", "it has its socket");
        Server(child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn listening(port: u16) -> String {
    format!("socket.create_server(('127.0.0.1', {port}))")
}

fn warning(server: &Server, port: u16, directory: &Path, path: &str) -> Outcome {
    let (id, directory) = (server.0.id(), text(directory));
    let stderr = format!(
        "Warning: port {port} is used by process {id} (python3), which works in '{directory}', outside '{path}'\n"
    );
    // The program may have another name than the link by which it was started.
    let name = std::fs::read_to_string(format!("/proc/{id}/comm")).unwrap();
    let stderr = stderr.replace("(python3)", &format!("({})", name.trim()));
    Outcome { code: 0, stdout: format!("{port}\n"), stderr }
}

#[test]
#[cfg(target_os = "linux")]
fn a_program_of_another_directory_is_named() {
    let machine = Machine::new();
    let (project, other) = (machine.directory("work/project"), machine.directory("work/project-2"));
    let reserve = ["reserve", "--path", text(&project)];
    let number = port(&machine.trop([&reserve[..], &["--min", "25920", "--max", "25929"]].concat()));
    let silent = Outcome { code: 0, stdout: format!("{number}\n"), stderr: String::new() };
    assert_eq!(machine.trop(reserve), silent, "nobody uses it");

    let server = Server::start(&other, &listening(number));
    let warned = warning(&server, number, &other, text(&project));
    assert_eq!(machine.trop(reserve), warned);
    assert_eq!(machine.trop([&reserve[..], &["--quiet"]].concat()), silent);
    let dry = machine.trop([&reserve[..], &["--dry-run"]].concat());
    assert!(dry.stderr.starts_with(&warned.stderr), "{dry:?}");
    let is_new =
        machine.trop(["reserve", "--tag", "new", "--path", text(&project), "--skip-occupancy-check"]);
    assert_eq!(is_new.stderr, "", "only for a key that has a port");
    drop(server);

    let udp = format!("socket.socket(type=socket.SOCK_DGRAM); kept.bind(('127.0.0.1', {number}))");
    let server = Server::start(&other, &udp);
    assert_eq!(machine.trop(reserve), warning(&server, number, &other, text(&project)));
    drop(server);
    let above = machine.path("work");
    let server = Server::start(&above, &listening(number));
    assert_eq!(machine.trop(reserve), warning(&server, number, &above, text(&project)));
}

#[test]
fn the_project_s_own_program_is_none() {
    let machine = Machine::new();
    let (project, below) = (machine.directory("work/project"), machine.directory("work/project/web/src"));
    let link = machine.path("link");
    std::os::unix::fs::symlink(&project, &link).unwrap();
    for path in [&project, &link] {
        let reserve = ["reserve", "--path", text(path), "--allow-unrelated-path"];
        let number = port(&machine.trop([&reserve[..], &["--min", "25930", "--max", "25939"]].concat()));
        let silent = Outcome { code: 0, stdout: format!("{number}\n"), stderr: String::new() };
        for directory in [&project, &below] {
            let server = Server::start(directory, &listening(number));
            assert_eq!(machine.trop(reserve), silent, "{directory:?}");
            drop(server);
        }
        let removed = machine.directory("work/project/gone");
        let server = Server::start(&removed, &listening(number));
        std::fs::remove_dir(&removed).unwrap();
        assert_eq!(machine.trop(reserve), silent, "its directory was removed");
        drop(server);
    }
}

#[test]
fn what_cannot_be_looked_at_is_not_suspected() {
    let machine = Machine::new();
    if std::fs::metadata(machine.path("")).unwrap().uid() != 0 {
        eprintln!("skipped: only root can start a program as another user");
        return;
    }
    let project = machine.directory("work/project");
    let reserve = ["reserve", "--path", text(&project)];
    let new = [&reserve[..], &["--min", "25940", "--max", "25949"]].concat();
    let number = port(&run(&mut machine.as_nobody(new)));
    let server = Server::start(&machine.path("work"), &listening(number));
    let outcome = run(&mut machine.as_nobody(reserve));
    assert_eq!((port(&outcome), outcome.stderr.as_str()), (number, ""), "{outcome:?}");
    drop(server);
}
