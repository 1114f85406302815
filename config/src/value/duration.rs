//! Durations, with their units: `"3500ms"`, `"10s"`, `"1h 30m"`.

use std::time::Duration;

use toml::de::DeValue;

use super::ValueError;
use super::leaf::{Leaf, Refusal, quoted};

const EXPECTED: &str = "a duration with its unit, such as \"500ms\", \"10s\" or \"1d\"";

/// A century. Longer durations are slips of the pen, and adding them to a clock could overflow it.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

impl Leaf for Duration {
    fn expected() -> String {
        EXPECTED.to_owned()
    }

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Refusal> {
        let text = value
            .as_str()
            .ok_or_else(|| Refusal::wrong_kind::<Self>(value))?;
        humantime::parse_duration(text)
            .ok()
            .filter(|duration| *duration <= LONGEST)
            .ok_or_else(|| ValueError::new(text, EXPECTED).into())
    }

    fn to_toml(&self) -> Option<String> {
        Some(quoted(&written(*self)))
    }
}

/// A duration as people write it: one unit, seconds up to two minutes.
fn written(duration: Duration) -> String {
    const SECONDS_PLAIN_MAX: u64 = 120;
    const UNITS: [(u64, &str); 3] = [(86_400, "d"), (3_600, "h"), (60, "m")];
    let seconds = duration.as_secs();
    if duration.subsec_nanos() != 0 {
        return match duration.subsec_nanos() % 1_000_000 {
            0 => format!("{}ms", duration.as_millis()),
            _ => format!("{}ns", duration.as_nanos()),
        };
    }
    if seconds > SECONDS_PLAIN_MAX
        && let Some((unit, name)) = UNITS.iter().find(|(unit, _)| seconds.is_multiple_of(*unit))
    {
        return format!("{}{name}", seconds / unit);
    }
    format!("{seconds}s")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<Duration>) {
        let value = DeValue::String(text.into());
        assert_eq!(Duration::from_toml(&value).ok(), expected, "{text:?}");
    }

    #[test]
    fn durations_need_their_unit() {
        check("3500ms", Some(Duration::from_millis(3_500)));
        check("0s", Some(Duration::ZERO));
        check("1d", Some(Duration::from_secs(86_400)));
        check("1h 30m", Some(Duration::from_secs(5_400)));
        check("10", None);
        check("-1s", None);
        check("", None);
        check("ten seconds", None);
    }

    #[test]
    fn durations_beyond_a_century_are_refused() {
        check("36500d", Some(LONGEST));
        check("36501d", None);
        check("99999999999999999999d", None);
    }

    #[test]
    fn durations_are_written_in_one_unit() {
        for text in [
            "0s", "100ms", "3500ms", "10s", "60s", "120s", "121s", "10m", "2h", "1d", "7ns",
        ] {
            let duration = humantime::parse_duration(text).unwrap();
            assert_eq!(written(duration), text);
        }
    }
}
