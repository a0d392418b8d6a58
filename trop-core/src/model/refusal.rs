//! Why a port cannot be given out.

/// Why a preferred port was not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// It lies outside the range.
    OutsideRange,
    /// Another reservation or a live lease has it.
    Reserved,
    /// It is on the exclusion list.
    Excluded,
    /// Something on this machine has it bound, or may have.
    Occupied,
    /// This user may not bind it.
    Forbidden,
    /// Web clients refuse to connect to it, so no search chooses it. It is no obstacle for a preferred port.
    Refused,
    /// Connections of a former server are left, so a search prefers other ports. It is no obstacle for a
    /// preferred port.
    Closing,
}

impl Refusal {
    /// The name every language uses: `outside_range`, `reserved`, `excluded`, `occupied`, `forbidden`, and
    /// `refused` or `closing`, which no preferred port is.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Refusal::OutsideRange => "outside_range",
            Refusal::Reserved => "reserved",
            Refusal::Excluded => "excluded",
            Refusal::Occupied => "occupied",
            Refusal::Forbidden => "forbidden",
            Refusal::Refused => "refused",
            Refusal::Closing => "closing",
        }
    }
}
