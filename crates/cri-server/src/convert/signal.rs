//! CRI numbers signals its own way; the names are Linux's but for the sign of real-time ones.

use pinpod_cri_api::runtime::v1 as cri;
use pinpod_model::Signal;

use super::error::{ConvertError, Problem};

/// `None` where the request leaves the choice to the image and the runtime.
pub(super) fn signal(field: &str, number: i32) -> Result<Option<Signal>, ConvertError> {
    let unknown = |value: String| {
        ConvertError::new(
            field,
            Problem::Choice {
                value,
                allowed: "the signals of CRI",
            },
        )
    };
    let asked = cri::Signal::try_from(number).map_err(|_| unknown(number.to_string()))?;
    if asked == cri::Signal::RuntimeDefault {
        return Ok(None);
    }
    let name = asked.as_str_name();
    let linux = name.replace("PLUS", "+").replace("MINUS", "-");
    linux
        .parse()
        .map(Some)
        .map_err(|_| unknown(name.to_owned()))
}

/// How CRI names a signal; its default value for a signal that CRI does not have.
pub(super) fn to_cri(signal: Signal) -> cri::Signal {
    let name = match signal.number() {
        34 => "SIGRTMIN".to_owned(),
        number @ 35..50 => format!("SIGRTMINPLUS{}", number - 34),
        number @ 50..64 => format!("SIGRTMAXMINUS{}", 64 - number),
        64 => "SIGRTMAX".to_owned(),
        _ => signal.to_string(),
    };
    cri::Signal::from_str_name(&name).unwrap_or(cri::Signal::RuntimeDefault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_of_cri_is_one_of_linux_and_comes_back() {
        let mut numbers = std::collections::BTreeSet::new();
        for number in 1..=65 {
            let name = cri::Signal::try_from(number).unwrap().as_str_name();
            let linux = signal("stop_signal", number).unwrap().unwrap();
            numbers.insert(linux.number());
            let back = signal("stop_signal", to_cri(linux).into()).unwrap();
            assert_eq!(back, Some(linux), "{name}");
        }
        // 1 to 31 and 34 to 64; CLD, IOT and POLL are second names.
        assert_eq!(numbers.len(), 62);
    }

    #[test]
    fn the_default_is_no_signal_and_66_is_refused() {
        assert_eq!(signal("stop_signal", 0), Ok(None));
        let error = signal("stop_signal", 66).unwrap_err();
        assert_eq!(
            error.to_string(),
            "stop_signal is 66, which is not one of the signals of CRI"
        );
    }

    #[test]
    fn some_by_name() {
        for (cri_signal, number) in [
            (cri::Signal::Sigterm, 15),
            (cri::Signal::Sigcld, 17),
            (cri::Signal::Sigrtminplus15, 49),
            (cri::Signal::Sigrtmaxminus14, 50),
            (cri::Signal::Sigrtmax, 64),
        ] {
            let linux = signal("stop_signal", cri_signal.into()).unwrap().unwrap();
            assert_eq!(linux.number(), number, "{}", cri_signal.as_str_name());
        }
    }
}
