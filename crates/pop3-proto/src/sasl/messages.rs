//! The messages of mechanisms that need one only.

use super::Mechanism;

/// The user and the password of PLAIN: `[authorize] NUL user NUL password` (RFC 4616 §2).
/// None if it is malformed, or somebody wants to act as somebody else.
pub(super) fn plain(message: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut parts = message.split(|b| *b == 0);
    let (authorize, user, password) = (parts.next()?, parts.next()?, parts.next()?);
    let fits = parts.next().is_none() && !user.is_empty() && !password.is_empty();
    (fits && may_act_as(authorize, user)).then_some((user, password))
}

/// Nobody may act as somebody else.
fn may_act_as(authorize: &[u8], user: &[u8]) -> bool {
    authorize.is_empty() || authorize == user
}

/// The user and the token of OAUTHBEARER (RFC 7628 §3.1) or XOAUTH2. The user may be empty:
/// the token tells.
pub(super) fn bearer(mechanism: Mechanism, message: &[u8]) -> Option<(Box<[u8]>, &[u8])> {
    /// Between the pairs.
    const END: u8 = 1;
    let (head, pairs) = match mechanism {
        Mechanism::OauthBearer => {
            let end = message.iter().position(|b| *b == END)?;
            (Some(&message[..end]), &message[end + 1..])
        }
        _ => (None, message),
    };
    // The last pair ends with one END, the message with another.
    let pairs = pairs.strip_suffix(&[END, END])?;
    let mut user = match head {
        Some(head) => head_user(head)?,
        None => Box::default(),
    };
    let mut token = None;
    for pair in pairs.split(|b| *b == END) {
        let at = pair.iter().position(|b| *b == b'=')?;
        let (key, value) = (&pair[..at], &pair[at + 1..]);
        match key {
            b"auth" => token = Some(bearer_token(value)?),
            b"user" if head.is_none() => user = value.into(),
            // host, port and whatever comes later.
            _ => {}
        }
    }
    Some((user, token?))
}

/// `n,a=USER,`: channel bindings are not for tokens.
fn head_user(head: &[u8]) -> Option<Box<[u8]>> {
    let rest = head.strip_prefix(b"n,").or(head.strip_prefix(b"y,"))?;
    let name = rest.strip_suffix(b",")?;
    match name {
        b"" => Some(Box::default()),
        name => unescaped(name.strip_prefix(b"a=")?),
    }
}

/// The token after `Bearer`, whose case does not matter (RFC 6750 §2.1).
fn bearer_token(value: &[u8]) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"bearer ";
    let (scheme, token) = value.split_at_checked(SCHEME.len())?;
    let fits = scheme.eq_ignore_ascii_case(SCHEME) && !token.is_empty();
    let is_token = |b: &u8| b.is_ascii_graphic();
    (fits && token.iter().all(is_token)).then_some(token)
}

/// A name in which `=2C` stands for a comma and `=3D` for an equals sign (RFC 5801 §4); none
/// where another `=` stands.
pub(super) fn unescaped(name: &[u8]) -> Option<Box<[u8]>> {
    let mut plain = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'=' => {
                let (code, after) = rest.split_at_checked(2)?;
                plain.push(match code {
                    b"2C" => b',',
                    b"3D" => b'=',
                    _ => return None,
                });
                rest = after;
            }
            other => plain.push(other),
        }
    }
    Some(plain.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A user and a secret.
    type Pair = (&'static [u8], &'static [u8]);

    #[test]
    fn plain_has_three_parts() {
        let rows: [(&[u8], Option<Pair>); 10] = [
            (
                b"\0tim\0tanstaaftanstaaf",
                Some((b"tim", b"tanstaaftanstaaf")),
            ),
            (b"tim\0tim\0secret", Some((b"tim", b"secret"))),
            (b"\0j\xc3\xb6\0\xff", Some((b"j\xc3\xb6", b"\xff"))),
            (b"Ursel\0Kurt\0xipj3plmq", None),
            (b"", None),
            (b"\0\0", None),
            (b"\0tim\0", None),
            (b"\0\0secret", None),
            (b"tim\0secret", None),
            (b"\0tim\0secret\0", None),
        ];
        for (message, want) in rows {
            assert_eq!(plain(message), want, "{message:?}");
        }
    }

    #[test]
    fn tokens_come_in_two_forms() {
        use Mechanism::{OauthBearer, Xoauth2};
        let rows: [(Mechanism, &[u8], Option<Pair>); 13] = [
            (
                OauthBearer,
                b"n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01",
                Some((b"user@example.com", b"vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==")),
            ),
            (OauthBearer, b"n,,\x01auth=bearer abc\x01\x01", Some((b"", b"abc"))),
            (OauthBearer, b"n,a=a=2Cb=3Dc,\x01auth=Bearer t\x01\x01", Some((b"a,b=c", b"t"))),
            (OauthBearer, b"n,a=a=2cb,\x01auth=Bearer t\x01\x01", None),
            (OauthBearer, b"p=tls-exporter,,\x01auth=Bearer t\x01\x01", None),
            (OauthBearer, b"n,a=u,\x01\x01", None),
            (OauthBearer, b"n,a=u,\x01auth=Bearer t\x01", None),
            (OauthBearer, b"n,a=u,\x01auth=Basic dDp0\x01\x01", None),
            (OauthBearer, b"n,a=u,\x01auth=Bearer t t\x01\x01", None),
            (Xoauth2, b"user=a@b\x01auth=Bearer ya29\x01\x01", Some((b"a@b", b"ya29"))),
            (Xoauth2, b"user=a@b\x01\x01", None),
            (Xoauth2, b"user=a@b\x01auth\x01\x01", None),
            (Xoauth2, b"", None),
        ];
        for (mechanism, message, want) in rows {
            let got = bearer(mechanism, message);
            let got = got.as_ref().map(|(user, token)| (&**user, *token));
            assert_eq!(got, want, "{:?}", String::from_utf8_lossy(message));
        }
    }
}
