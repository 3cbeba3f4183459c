//! `WWW-Authenticate` (RFC 9110, 11.6.1; RFC 6750, 3).

use http::header::{HeaderMap, WWW_AUTHENTICATE};

/// What a registry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User name and password.
    Basic,
    /// A token from `realm`.
    Bearer(BearerChallenge),
}

/// Where a token is had, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BearerChallenge {
    pub(crate) realm: String,
    pub(crate) service: Option<String>,
    pub(crate) scope: Option<String>,
}

/// The challenge to answer: a token before a password.
pub(crate) fn choose(headers: &HeaderMap) -> Option<Challenge> {
    let lines = headers.get_all(WWW_AUTHENTICATE).iter();
    let all: Vec<Challenge> = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(parse)
        .collect();
    let bearer = all.iter().find(|one| matches!(one, Challenge::Bearer(_)));
    bearer.or(all.first()).cloned()
}

/// All challenges of one header line that are known.
fn parse(line: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    let mut rest = line.trim_start_matches([' ', ',']);
    while !rest.is_empty() {
        let end = rest.find([' ', ',']).unwrap_or(rest.len());
        let scheme = &rest[..end];
        let (parameters, next) = parameters(&rest[end..]);
        let get = |name: &str| {
            let mut same = parameters
                .iter()
                .filter(|(key, _)| key.eq_ignore_ascii_case(name));
            same.next().map(|(_, value)| value.clone())
        };
        if scheme.eq_ignore_ascii_case("basic") {
            found.push(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer")
            && let Some(realm) = get("realm")
        {
            found.push(Challenge::Bearer(BearerChallenge {
                realm,
                service: get("service"),
                scope: get("scope"),
            }));
        }
        rest = next;
    }
    found
}

/// `key=value` pairs up to the next scheme, and what is left.
fn parameters(text: &str) -> (Vec<(String, String)>, &str) {
    let mut pairs = Vec::new();
    let mut rest = text.trim_start_matches([' ', ',']);
    loop {
        let token_end = rest.find(['=', ' ', ',']).unwrap_or(rest.len());
        let after = rest[token_end..].trim_start();
        let Some(value) = after.strip_prefix('=') else {
            // No equals sign: the next scheme, or the end.
            return (pairs, rest);
        };
        let key = rest[..token_end].to_owned();
        let (value, next) = value_of(value.trim_start());
        pairs.push((key, value));
        rest = next.trim_start_matches([' ', ',']);
    }
}

/// A token or a quoted string, and what is left.
fn value_of(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer(BearerChallenge {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        })
    }

    #[test]
    fn challenges() {
        let pull = "repository:a/b:pull,push";
        for (line, expected) in [
            (r#"Basic realm="x""#, vec![Challenge::Basic]),
            ("basic", vec![Challenge::Basic]),
            (
                r#"Bearer realm="https://a/t",service="s",scope="repository:a/b:pull,push""#,
                vec![bearer("https://a/t", Some("s"), Some(pull))],
            ),
            (
                r#"bearer service=s , realm = "https://a/\"t""#,
                vec![bearer("https://a/\"t", Some("s"), None)],
            ),
            (
                r#"Basic realm="x", Bearer realm="https://a", Digest nonce="1""#,
                vec![Challenge::Basic, bearer("https://a", None, None)],
            ),
            (r#"Bearer service="s""#, vec![]),
            (
                r#"Bearer realm="unfinished"#,
                vec![bearer("unfinished", None, None)],
            ),
            ("Negotiate", vec![]),
            ("", vec![]),
            (",,, =", vec![]),
        ] {
            assert_eq!(parse(line), expected, "{line}");
        }
    }

    #[test]
    fn a_token_is_preferred() {
        let mut headers = HeaderMap::new();
        headers.append(WWW_AUTHENTICATE, "Basic realm=\"x\"".parse().unwrap());
        headers.append(
            WWW_AUTHENTICATE,
            "Bearer realm=\"https://a\"".parse().unwrap(),
        );
        assert_eq!(choose(&headers), Some(bearer("https://a", None, None)));
        assert_eq!(choose(&HeaderMap::new()), None);
    }

    proptest::proptest! {
        #[test]
        fn any_line_ends(line in "[ -~]{0,60}") {
            parse(&line);
        }
    }
}
