//! trop itself.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use trop_core::{
    Discovery, Lease, LeaseRequest, Port, PortRange, Registry, RegistryOptions, ReleaseRequest,
    ReserveRequest, Reserved, Tag,
};

use crate::measure::{Samples, measure};
use crate::tags::Tags;
use crate::{Engine, Result, unknown};

pub(crate) struct Trop {
    options: RegistryOptions,
    registry: Registry,
    tags: Tags,
    /// The oldest first.
    leases: VecDeque<Lease>,
}

impl Trop {
    pub(crate) fn open(directory: &Path, min: u16, max: u16) -> Result<Trop> {
        let mut options = RegistryOptions::default();
        options.data_dir = Some(directory.to_owned());
        let (min, max) = (Port::new("MIN", min.into())?, Port::new("MAX", max.into())?);
        options.ports = Some(PortRange::new("MIN MAX", min, max)?);
        options.discovery = Discovery::Off;
        options.variables = false;
        Ok(Trop {
            registry: Registry::open(options.clone())?,
            options,
            tags: Tags::default(),
            leases: VecDeque::new(),
        })
    }

    fn reserve_new(&mut self, count: usize, probed: bool) -> Result<Samples> {
        let tags = self.tags.make(count);
        let mut requests = requests(&tags)?;
        for request in &mut requests {
            request.occupancy.skip = !probed;
        }
        let measured = measure(requests.iter(), |request| self.registry.reserve(request));
        self.tags.keep(tags, &measured.results);
        Ok(measured.samples(port))
    }

    fn release(&mut self, count: usize) -> Result<Samples> {
        let tags = self.tags.oldest(count)?;
        let requests = tags.iter().map(|tag| {
            let mut request = ReleaseRequest::default();
            request.tag = Some(Tag::new(tag)?);
            Ok(request)
        });
        let requests: Vec<_> = requests.collect::<Result<_>>()?;
        let measured = measure(requests.iter(), |request| self.registry.release(request));
        self.tags.drop_oldest(&measured.results);
        Ok(measured.samples(|_| None::<u16>))
    }

    fn hit(&mut self, count: usize) -> Result<Samples> {
        let request = self.last()?;
        self.registry.reserve(&request)?;
        Ok(measure(0..count, |_| self.registry.reserve(&request)).samples(port))
    }

    fn touch(&self, count: usize) -> Result<Samples> {
        let requests = requests(&self.tags.oldest(count)?)?;
        wait_for_next_second()?;
        Ok(measure(requests.iter(), |request| self.registry.reserve(request)).samples(port))
    }

    fn lease(&mut self, count: usize) -> Samples {
        let request = LeaseRequest::default();
        let measured = measure(0..count, |_| self.registry.lease(&request));
        let samples = measured.samples(|lease| lease.port().get());
        self.leases.extend(measured.results.into_iter().flatten());
        samples
    }

    /// What a suite of quick server tests does.
    fn churn(&self, count: usize) -> Samples {
        let request = LeaseRequest::default();
        let mut samples = Samples::default();
        for _ in 0..count {
            let start = Instant::now();
            let lease = self.registry.lease(&request);
            samples.times.push(start.elapsed());
            let serve = || -> Result<u16> {
                let lease = lease?;
                serve_once(lease.port().get())?;
                lease.close();
                Ok(lease.port().get())
            };
            match serve() {
                Ok(port) => samples.ports.push(port),
                Err(error) => {
                    samples.failed += 1;
                    samples.failure.get_or_insert(error.to_string());
                }
            }
        }
        samples
    }

    fn close(&mut self, count: usize) -> Result<Samples> {
        if count > self.leases.len() {
            return Err(format!("only {} leases are kept", self.leases.len()).into());
        }
        let leases: Vec<_> = self.leases.drain(..count).collect();
        let close = |lease: &Lease| -> Result<()> {
            lease.close();
            Ok(())
        };
        Ok(measure(leases.iter(), close).samples(|()| None::<u16>))
    }

    fn open_again(&mut self, count: usize) -> Result<Samples> {
        let request = self.last()?;
        let options = vec![self.options.clone(); count];
        let reserve = |options| Registry::open(options)?.reserve(&request);
        Ok(measure(options.into_iter(), reserve).samples(port))
    }

    /// The request of the last tag, which is reserved.
    fn last(&mut self) -> Result<ReserveRequest> {
        if self.tags.last().is_none() {
            self.reserve_new(1, true)?;
        }
        let tag = self.tags.last().ok_or("no tag could be reserved")?.to_owned();
        request(&tag)
    }
}

impl Engine for Trop {
    fn run(&mut self, operation: &str, count: usize) -> Result<Samples> {
        match operation {
            "new" => self.reserve_new(count, true),
            "fill" => self.reserve_new(count, false),
            "release" => self.release(count),
            "hit" => self.hit(count),
            "touch" => self.touch(count),
            "lease" => Ok(self.lease(count)),
            "close" => self.close(count),
            "churn" => Ok(self.churn(count)),
            "open" => self.open_again(count),
            _ => Err(unknown(operation)),
        }
    }
}

/// A server that answers one client and closes the connection first, so that the port is in `TIME_WAIT`
/// afterwards.
fn serve_once(port: u16) -> Result<()> {
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    let (mut accepted, _) = server.accept()?;
    accepted.write_all(b"served")?;
    drop(accepted);
    let mut answer = String::new();
    client.read_to_string(&mut answer)?;
    Ok(())
}

fn requests(tags: &[String]) -> Result<Vec<ReserveRequest>> {
    tags.iter().map(|tag| request(tag)).collect()
}

fn request(tag: &str) -> Result<ReserveRequest> {
    let mut request = ReserveRequest::default();
    request.tag = Some(Tag::new(tag)?);
    Ok(request)
}

fn port(reserved: &Reserved) -> u16 {
    reserved.reservation.port.get()
}

/// Waits for the next second, so that reserving each tag again changes its `last_used_at`.
fn wait_for_next_second() -> Result<()> {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH);
    let second = now()?.as_secs();
    while now()?.as_secs() == second {
        thread::sleep(Duration::from_secs(second + 1).saturating_sub(now()?));
    }
    Ok(())
}
