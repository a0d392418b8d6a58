//! The effective configuration as an in-process caller meets it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{Scratch, port, range};
use trop_core::{
    Code, Configuration, Discovery, Error, Group, GroupRequest, LeaseRequest, Origin, OutputFormat, Registry,
    RegistryOptions, ReserveRequest, ScanRequest, Setting, Uses,
};

/// A directory for a project, and a data directory beside it.
struct Place {
    scratch: Scratch,
    project: PathBuf,
}

impl Place {
    fn new() -> Place {
        let scratch = Scratch::new();
        let project = scratch.root().join("project");
        fs::create_dir(&project).unwrap();
        fs::create_dir(scratch.dir()).unwrap();
        Place { scratch, project }
    }

    fn write(&self, name: &str, text: &str) -> &Place {
        fs::write(self.project.join(name), text).unwrap();
        self
    }

    fn write_user(&self, text: &str) -> &Place {
        fs::write(self.scratch.dir().join("config.yaml"), text).unwrap();
        self
    }

    fn options(&self) -> RegistryOptions {
        let mut options = RegistryOptions::default();
        options.data_dir = Some(self.scratch.dir());
        options.discovery = Discovery::From(self.project.clone());
        options.variables = false;
        options.occupancy.skip = true;
        options
    }

    fn resolve(&self) -> Configuration {
        Configuration::resolve(self.options(), &self.scratch.dir()).unwrap()
    }

    /// Tags, offsets and variables of the group.
    fn group(&self) -> Vec<(String, u16, String)> {
        summary(self.resolve().group().unwrap())
    }
}

fn summary(group: &Group) -> Vec<(String, u16, String)> {
    let service =
        |service: &trop_core::Service| (service.tag.to_string(), service.offset, service.variable.clone());
    group.services.iter().map(service).collect()
}

fn service(tag: &str, offset: u16, variable: &str) -> (String, u16, String) {
    (tag.to_owned(), offset, variable.to_owned())
}

#[test]
fn without_sources_the_defaults_apply() {
    let configuration = Place::new().resolve();
    assert_eq!(configuration.ports, range(5000, 7000));
    assert!(!configuration.excluded.contains(port(5000)));
    assert_eq!((configuration.project.as_deref(), configuration.task.as_deref()), (None, None));
    assert_eq!(configuration.expire_after_days, 30);
    assert_eq!(configuration.busy_timeout, Duration::from_secs(5));
    assert_eq!(configuration.output_format, OutputFormat::Table);
    assert!(configuration.create);
    for switch in [
        configuration.disable_autoprune,
        configuration.disable_autoexpire,
        configuration.allow_unrelated_path,
        configuration.allow_change_project,
        configuration.allow_change_task,
    ] {
        assert!(!switch);
    }
    assert_eq!(configuration.origin(Setting::PortMin), Origin::Default);
}

/// 10000 to 29999 unless something else is said, and never what is said of reservations.
#[test]
fn leases_have_a_range_of_their_own() {
    let place = Place::new();
    assert_eq!(place.resolve().lease_ports, range(10000, 29999));
    place.write_user("ports: {min: 20100, max: 20199}\nlease_ports: {min: 20200}\n");
    place.write("trop.yaml", "lease_ports: {min: 20300, max_offset: 9}\n");
    let configuration = place.resolve();
    assert_eq!(configuration.ports, range(20100, 20199));
    assert_eq!(configuration.lease_ports, range(20300, 20309));
    let file = place.project.canonicalize().unwrap().join("trop.yaml");
    assert_eq!(configuration.origin(Setting::LeasePortMax), Origin::File { path: file, line: 1 });

    let registry = Registry::open(place.options()).unwrap();
    let lease = registry.lease(&LeaseRequest::default()).unwrap();
    assert_eq!(lease.port(), port(20300));
    assert_eq!(registry.reserve(&common::request("/a", "web")).unwrap().reservation.port, port(20100));
    let mut above = LeaseRequest::default();
    above.min = Some(port(20305));
    let second = registry.lease(&above).unwrap();
    assert_eq!(second.port(), port(20305));
    above.max = Some(port(20399));
    above.min = Some(port(20390));
    assert_eq!(registry.lease(&above).unwrap().port(), port(20390));

    for (number, told) in [
        (
            20305,
            "It lies in the port range of leases, 20300..20309, not in that of reservations, 20100..20199.",
        ),
        (
            20105,
            "It lies in the port range of reservations, 20100..20199, not in that of leases, 20300..20309.",
        ),
        (
            20400,
            "It lies outside the port ranges of reservations, 20100..20199, and of leases, 20300..20309.",
        ),
    ] {
        let explanation = registry.explain(port(number)).unwrap();
        assert!(explanation.to_string().ends_with(told), "{explanation}");
        assert_eq!(explanation.to_json()["in_range"], number != 20400);
    }

    let mut options = place.options();
    options.ports = Some(range(20400, 20409));
    let both = Configuration::resolve(options, &place.scratch.dir()).unwrap();
    assert_eq!((both.ports, both.lease_ports), (range(20400, 20409), range(20400, 20409)));
}

/// A fault names the setting and where each end comes from; who does not lease does not mind.
#[test]
fn a_range_of_leases_that_is_none_is_refused() {
    let place = Place::new();
    place.write_user("lease_ports: {min: 20200, max: 20299}\n");
    place.write("trop.yaml", "lease_ports: {min: 20300}\n");
    let error = Configuration::resolve(place.options(), &place.scratch.dir()).unwrap_err();
    assert_eq!((error.code(), error.argument()), (Code::Config, Some("lease_ports")));
    let text = error.to_string();
    for part in ["min 20300", "trop.yaml' line 1", "max 20299", "config.yaml' line 1"] {
        assert!(text.contains(part), "{text}");
    }
    let mut options = place.options();
    options.uses = Uses::RESERVING;
    Configuration::resolve(options, &place.scratch.dir()).unwrap();

    // Half a range, for both, that leases cannot use: they are told, and reservations are not.
    let (half, default) = (Place::new(), LeaseRequest::default());
    let mut options = half.options();
    options.max = Some(port(8000));
    let registry = Registry::open(options).unwrap();
    let error = registry.lease(&default).unwrap_err();
    assert_eq!((error.code(), error.argument()), (Code::Config, Some("lease_ports")));
    assert!(
        error.to_string().contains("min 10000 (built-in default) is above max 8000 (argument)"),
        "{error}"
    );

    let mut options = place.options();
    options.max = Some(port(20399));
    let registry = Registry::open(options).unwrap();
    let mut low = LeaseRequest::default();
    low.max = Some(port(20299));
    let text = registry.lease(&low).unwrap_err().to_string();
    for part in ["lease_ports", "min 20300", "trop.yaml' line 1", "max 20299 (argument)"] {
        assert!(text.contains(part), "{text}");
    }
}

/// Trap 70 (commands read different sources).
#[test]
fn every_setting_of_the_files_arrives() {
    let place = Place::new();
    place.write_user(
        "cleanup: {expire_after_days: 7}\nmaximum_lock_wait_seconds: 9\nallow_change_task: true\n",
    );
    place.write(
        "trop.yaml",
        "project: ' shop '\nports: {min: 6000, max_offset: 10}\nexcluded_ports: [6001]\n\
         occupancy_check: {skip_ip4: true, check_all_interfaces: true}\n\
         disable_autoprune: true\ndisable_autoexpire: true\nallow_unrelated_path: true\n\
         disable_autoinit: true\noutput_format: csv\n",
    );
    place.write("trop.local.yaml", "allow_change_project: true\noccupancy_check: {skip_ip6: true}\n");
    let configuration = place.resolve();
    assert_eq!(configuration.project.as_deref(), Some("shop"));
    assert_eq!(configuration.ports, range(6000, 6010));
    assert!(configuration.excluded.contains(port(6001)));
    let occupancy = configuration.occupancy;
    assert!(occupancy.skip && occupancy.skip_ipv4 && occupancy.skip_ipv6);
    assert_eq!(occupancy.check_all_interfaces, Some(true));
    assert!(!occupancy.skip_tcp && !occupancy.skip_udp);
    assert!(configuration.disable_autoprune && configuration.disable_autoexpire);
    assert!(configuration.allow_unrelated_path && !configuration.create);
    assert!(configuration.allow_change_project && configuration.allow_change_task);
    assert_eq!(configuration.expire_after_days, 7);
    assert_eq!(configuration.busy_timeout, Duration::from_secs(9));
    assert_eq!(configuration.output_format, OutputFormat::Csv);
    let project = place.project.canonicalize().unwrap();
    let files = [project.join("trop.yaml"), project.join("trop.local.yaml")];
    assert_eq!(configuration.project_files, files);
    let file = |path: &Path, line| Origin::File { path: path.to_path_buf(), line };
    assert_eq!(configuration.origin(Setting::Project), file(&files[0], 1));
    assert_eq!(configuration.origin(Setting::PortMax), file(&files[0], 2));
    assert_eq!(configuration.origin(Setting::AllowChangeProject), file(&files[1], 1));
    assert_eq!(configuration.origin(Setting::SkipOccupancyCheck), Origin::Argument("argument"));
    assert_eq!(configuration.origin(Setting::BusyTimeout), file(&place.scratch.dir().join("config.yaml"), 2));
}

#[test]
fn the_wide_permission_grants_both_narrow_ones() {
    let place = Place::new();
    place.write("trop.yaml", "allow_change: true\n");
    let both =
        |configuration: &Configuration| (configuration.allow_change_project, configuration.allow_change_task);
    assert_eq!(both(&place.resolve()), (true, true));
    place.write("trop.local.yaml", "allow_change: false\n");
    assert_eq!(both(&place.resolve()), (false, false));
    place.write("trop.local.yaml", "allow_change: false\nallow_change_task: true\n");
    assert_eq!(both(&place.resolve()), (false, true));
}

#[test]
fn explicit_values_weigh_most_and_switches_only_turn_on() {
    let place = Place::new();
    place.write(
        "trop.yaml",
        "ports: {min: 6000}\nexcluded_ports: [6000]\nmaximum_lock_wait_seconds: 9\noccupancy_check: {skip_tcp: true}\n\
         disable_autoinit: true\n",
    );
    let mut options = place.options();
    options.occupancy.skip = false;
    options.occupancy.skip_udp = true;
    options.ports = Some(range(6100, 6200));
    options.excluded.insert(port(6101));
    options.busy_timeout = Some(Duration::from_millis(250));
    options.create = true;
    let configuration = Configuration::resolve(options.clone(), &place.scratch.dir()).unwrap();
    assert_eq!(configuration.ports, range(6100, 6200));
    assert!(configuration.excluded.contains(port(6000)) && configuration.excluded.contains(port(6101)));
    assert_eq!(configuration.busy_timeout, Duration::from_millis(250));
    assert!(configuration.occupancy.skip_tcp && configuration.occupancy.skip_udp);
    assert!(!configuration.create);
    options.min = Some(port(6150));
    assert_eq!(Configuration::resolve(options, &place.scratch.dir()).unwrap().ports, range(6150, 6200));
}

/// A request's end of the range is put over the sources: an offset counts from it, and an error names both
/// origins.
/// Traps 76 (where a value came from), 99 (the offset form is forgotten).
#[test]
fn an_end_of_the_range_in_a_request_is_one_more_source() {
    let place = Place::new();
    place.write("trop.yaml", "ports: {min: 21000, max_offset: 1}\n");
    let registry = Registry::open(place.options()).unwrap();
    let reserve = |min: Option<u16>, max: Option<u16>| {
        let mut request = common::request("/p", &format!("{min:?} {max:?}"));
        (request.min, request.max) = (min.map(port), max.map(port));
        registry.reserve(&request)
    };
    let scan = |min: Option<u16>, max: Option<u16>| {
        let mut request = ScanRequest::default();
        (request.min, request.max) = (min.map(port), max.map(port));
        registry.scan(&request)
    };
    assert_eq!(reserve(Some(21500), None).unwrap().reservation.port, port(21500));
    assert_eq!(scan(Some(21500), None).unwrap().range, range(21500, 21501));
    assert_eq!(scan(None, Some(21050)).unwrap().range, range(21000, 21050));
    assert_eq!(scan(None, None).unwrap().range, range(21000, 21001));
    let file = format!("'{}' line 1", place.project.join("trop.yaml").display());
    for error in [reserve(None, Some(20999)).unwrap_err(), scan(None, Some(20999)).unwrap_err()] {
        let text = error.to_string();
        assert_eq!((error.code(), error.argument()), (Code::Config, Some("ports")));
        assert!(text.contains(&format!("min 21000 ({file})")), "{text}");
        assert!(text.contains("max 20999 (argument)"), "{text}");
    }
    assert!(scan(Some(65535), None).unwrap_err().to_string().contains("above 65535"));
}

#[test]
fn discovery_can_be_turned_off_and_a_file_be_named() {
    let place = Place::new();
    place.write_user("ports: {min: 5100}\n").write("trop.yaml", "ports: {min: 5200}\n");
    place.write("trop.local.yaml", "excluded_ports: [5200]\n").write("other.yaml", "ports: {min: 5300}\n");
    let resolve = |discovery| {
        let mut options = place.options();
        options.discovery = discovery;
        Configuration::resolve(options, &place.scratch.dir())
    };
    assert_eq!(resolve(Discovery::Off).unwrap().ports, range(5000, 7000));
    let from = resolve(Discovery::From(place.project.clone())).unwrap();
    assert_eq!(from.ports, range(5200, 7000));
    for name in ["trop.yaml", "trop.local.yaml"] {
        let both = resolve(Discovery::File(place.project.join(name))).unwrap();
        assert_eq!(both.ports, range(5200, 7000), "{name}");
        assert!(both.excluded.contains(port(5200)), "{name}");
        assert_eq!(both.project_files, from.project_files);
    }
    let alone = resolve(Discovery::File(place.project.join("other.yaml"))).unwrap();
    assert_eq!(alone.ports, range(5300, 7000));
    assert!(!alone.excluded.contains(port(5200)));
    let blamed = |discovery| {
        let error = resolve(discovery).unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{error}");
        error.argument()
    };
    for missing in ["missing.yaml", ".", "a\0b"] {
        assert_eq!(blamed(Discovery::File(place.project.join(missing))), Some("config_file"), "{missing:?}");
    }
    for missing in ["missing", "a\0b"] {
        assert_eq!(blamed(Discovery::From(place.project.join(missing))), Some("start_dir"), "{missing:?}");
    }
}

#[test]
#[cfg(unix)]
fn a_file_that_cannot_be_read_is_blamed_on_the_argument_that_named_it() {
    let place = Place::new();
    let file = place.project.join("loop.yaml");
    std::os::unix::fs::symlink("loop.yaml", &file).unwrap();
    let blamed = |error: Error| {
        assert_eq!(error.code(), Code::Io, "{error}");
        assert!(error.to_string().contains("loop.yaml"), "{error}");
        error.argument()
    };
    assert_eq!(blamed(trop_core::validate(&file).unwrap_err()), Some("file"));
    let mut options = place.options();
    options.discovery = Discovery::File(file.clone());
    assert_eq!(blamed(Registry::open(options).unwrap_err()), Some("config_file"));
    let mut request = GroupRequest::default();
    request.file = Some(file);
    let registry = Registry::open(place.options()).unwrap();
    assert_eq!(blamed(registry.reserve_group(&request).unwrap_err()), Some("file"));
}

#[test]
fn a_registry_keeps_the_configuration_it_was_opened_with() {
    let place = Place::new();
    place.write("trop.yaml", "ports: {min: 21000, max: 21999}\n");
    let registry = Registry::open(place.options()).unwrap();
    place.write("trop.yaml", "broken: [");
    let mut request = ReserveRequest::default();
    request.path = Some("/p".into());
    assert_eq!(registry.reserve(&request).unwrap().reservation.port, port(21000));
    assert_eq!(registry.configuration().ports, range(21000, 21999));
    assert_eq!(registry.dry_run().unwrap().configuration().ports, range(21000, 21999));
    let error = Registry::open(place.options()).unwrap_err();
    assert_eq!(error.code(), Code::Config);
    assert!(error.to_string().contains("trop.yaml"), "{error}");
}

#[test]
fn a_range_nobody_uses_is_not_judged() {
    let place = Place::new();
    place.write("trop.yaml", "ports: {min: 8000}\n");
    let mut options = place.options();
    let error = Configuration::resolve(options.clone(), &place.scratch.dir()).unwrap_err();
    assert_eq!((error.code(), error.argument()), (Code::Config, Some("ports")));
    options.uses = Uses::LISTS;
    Configuration::resolve(options.clone(), &place.scratch.dir()).unwrap();
    options.uses = Uses::LISTS.and(Uses::PORTS);
    Configuration::resolve(options, &place.scratch.dir()).unwrap_err();
}

/// Traps 25 (tags with their blanks), 26 (the order of a hash map).
#[test]
fn a_group_is_ordered_by_its_trimmed_tags() {
    let place = Place::new();
    place.write(
        "trop.yaml",
        "reservations:\n  base: 6000\n  services:\n    ' web ': {preferred: 65535, env: web_port}\n    api-v2: {offset: 2}\n    db:\n      offset: 1\n",
    );
    let expected = [service("api-v2", 2, "API_V2"), service("db", 1, "DB"), service("web", 0, "web_port")];
    assert_eq!(place.group(), expected);
    let configuration = place.resolve();
    let group = configuration.group().unwrap();
    assert_eq!((group.base, group.services[2].preferred), (Some(port(6000)), Some(port(65535))));
    assert_eq!((group.file.file_name().unwrap().to_str(), group.line), (Some("trop.yaml"), 2));
}

/// Trap 19 (a group sees one file only).
#[test]
fn a_group_lives_in_the_full_effective_configuration() {
    let place = Place::new();
    place.write_user("excluded_ports: [5001]\n");
    place.write("trop.yaml", "excluded_ports: [5002]\n");
    place.write("trop.local.yaml", "reservations: {services: {web: {}}}\n");
    let configuration = place.resolve();
    assert_eq!(summary(configuration.group().unwrap()), [service("web", 0, "WEB")]);
    assert_eq!(configuration.ports, range(5000, 7000));
    assert!(configuration.excluded.contains(port(5001)) && configuration.excluded.contains(port(5002)));
    let file = configuration.group().unwrap().file.clone();
    assert_eq!(file, place.project.canonicalize().unwrap().join("trop.local.yaml"));
}

/// Trap 20 (an overlay removes the group).
#[test]
fn an_overlay_that_does_not_speak_of_the_group_keeps_it() {
    let place = Place::new();
    place.write("trop.yaml", "reservations: {services: {web: {}}}\n");
    for overlay in ["excluded_ports: [5000]\n", "", "project: x\n"] {
        place.write("trop.local.yaml", overlay);
        assert_eq!(place.group(), [service("web", 0, "WEB")], "{overlay}");
    }
}

/// Trap 21 (services of two files are mixed).
#[test]
fn a_group_is_replaced_as_a_whole() {
    let place = Place::new();
    place.write("trop.yaml", "reservations: {base: 6000, services: {web: {}, db: {offset: 1}}}\n");
    place.write("trop.local.yaml", "reservations: {services: {web: {offset: 7}}}\n");
    assert_eq!(place.group(), [service("web", 7, "WEB")]);
    assert_eq!(place.resolve().group().unwrap().base, None);
}

/// Trap 22 (null is taken for omitted).
#[test]
fn null_clears_the_group_and_is_inert_in_the_user_file() {
    let place = Place::new();
    place.write_user("reservations: null\n").write("trop.yaml", "reservations: {services: {web: {}}}\n");
    assert_eq!(place.group(), [service("web", 0, "WEB")]);
    for null in ["reservations: null\n", "reservations:\n", "reservations: ~\n"] {
        place.write("trop.local.yaml", null);
        let error = place.resolve().group().unwrap_err();
        assert_eq!(error.code(), Code::NotFound);
        assert!(error.to_string().contains("reservations"), "{error}");
    }
    place.write("trop.local.yaml", "reservations: {services: {}}\n");
    let error = place.resolve().group().unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    assert!(error.to_string().contains("services"), "{error}");
}

#[test]
fn the_base_lies_in_the_effective_range() {
    let place = Place::new();
    place.write("trop.yaml", "reservations: {base: 8000, services: {web: {}}}\n");
    let error = place.resolve().group().unwrap_err();
    assert_eq!((error.code(), error.argument()), (Code::Config, Some("reservations.base")));
    let mut options = place.options();
    options.max = Some(port(8000));
    Configuration::resolve(options, &place.scratch.dir()).unwrap().group().unwrap();
}
