//! Signing the assertions of JWT grants (RFC 7515 compact form), with the keys that people paste.

use super::secret::Secret;
use crate::connect::catalog::auth::{Algorithm, KeyEncoding};
use aws_lc_rs::{
    rand::SystemRandom,
    rsa,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD},
};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::zeroize::Zeroizing;
use serde_json::{Map, Value, json};
use sha2::Sha256;

/// A key that cannot sign. Nothing of it is in the error.
#[derive(Debug, thiserror::Error)]
pub enum JwtError {
    #[error("the key is not {0}")]
    BadKey(&'static str),
    #[error("signing failed")]
    Signing,
}

/// A signed JWT.
///
/// # Errors
/// The key is not what algorithm and encoding say.
pub fn sign(
    algorithm: Algorithm,
    key: &Secret,
    encoding: KeyEncoding,
    header: &Map<String, Value>,
    claims: &Map<String, Value>,
) -> Result<Secret, JwtError> {
    let name = match algorithm {
        Algorithm::Rs256 => "RS256",
        Algorithm::Es256 => "ES256",
        Algorithm::Hs256 => "HS256",
    };
    let mut full = header.clone();
    full.insert("alg".into(), json!(name));
    full.entry("typ").or_insert(json!("JWT"));
    let part = |fields: &Map<String, Value>| {
        URL_SAFE_NO_PAD.encode(Value::Object(fields.clone()).to_string())
    };
    let signed = format!("{}.{}", part(&full), part(claims));
    let signature = match algorithm {
        Algorithm::Rs256 => rs256(key, &signed)?,
        Algorithm::Es256 => es256(key, &signed)?,
        Algorithm::Hs256 => hs256(key, encoding, &signed)?,
    };
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)).into())
}

fn rs256(key: &Secret, signed: &str) -> Result<Vec<u8>, JwtError> {
    const WANTED: &str = "a private RSA key in PEM";
    let (label, der) = pem(key.expose()).ok_or(JwtError::BadKey(WANTED))?;
    let pair = match label.as_str() {
        "PRIVATE KEY" => rsa::KeyPair::from_pkcs8(&der),
        "RSA PRIVATE KEY" => rsa::KeyPair::from_der(&der),
        _ => return Err(JwtError::BadKey(WANTED)),
    };
    let pair = pair.map_err(|_| JwtError::BadKey(WANTED))?;
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        signed.as_bytes(),
        &mut signature,
    )
    .map_err(|_| JwtError::Signing)?;
    Ok(signature)
}

fn es256(key: &Secret, signed: &str) -> Result<Vec<u8>, JwtError> {
    const WANTED: &str = "a private P-256 key in PEM (PKCS #8 or SEC 1)";
    let (label, der) = pem(key.expose()).ok_or(JwtError::BadKey(WANTED))?;
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let pair = match label.as_str() {
        "PRIVATE KEY" => EcdsaKeyPair::from_pkcs8(algorithm, &der),
        "EC PRIVATE KEY" => EcdsaKeyPair::from_private_key_der(algorithm, &der),
        _ => return Err(JwtError::BadKey(WANTED)),
    };
    let pair = pair.map_err(|_| JwtError::BadKey(WANTED))?;
    let signature = pair.sign(&SystemRandom::new(), signed.as_bytes());
    Ok(signature.map_err(|_| JwtError::Signing)?.as_ref().to_vec())
}

fn hs256(key: &Secret, encoding: KeyEncoding, signed: &str) -> Result<Vec<u8>, JwtError> {
    let text = key.expose().trim();
    let bytes = match encoding {
        KeyEncoding::Pem | KeyEncoding::Text => Some(key.expose().as_bytes().to_vec()),
        KeyEncoding::Base64 => STANDARD
            .decode(text)
            .or_else(|_| URL_SAFE.decode(text))
            .ok(),
        KeyEncoding::Hex => from_hex(text),
    };
    let bytes = Zeroizing::new(bytes.ok_or(JwtError::BadKey("encoded as the catalog says"))?);
    if bytes.is_empty() {
        return Err(JwtError::BadKey("there"));
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(&bytes).map_err(|_| JwtError::Signing)?;
    mac.update(signed.as_bytes());
    Ok(mac.finalize().into_bytes().to_vec())
}

/// The label and the bytes of the first block of a PEM text. Line breaks that were pasted as `\n` count too: that is how keys come out of
/// JSON files.
fn pem(text: &str) -> Option<(String, Zeroizing<Vec<u8>>)> {
    let text = Zeroizing::new(text.replace("\\n", "\n"));
    let (_, rest) = text.split_once("-----BEGIN ")?;
    let (label, rest) = rest.split_once("-----")?;
    let (body, _) = rest.split_once("-----END ")?;
    let base64: Zeroizing<String> =
        Zeroizing::new(body.chars().filter(|c| !c.is_whitespace()).collect());
    let der = STANDARD.decode(base64.as_bytes()).ok()?;
    Some((label.to_owned(), Zeroizing::new(der)))
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .chars()
        .map(|c| c.to_digit(16).map(|digit| digit as u8))
        .collect::<Option<_>>()?;
    let pairs = digits.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    Some(pairs.map(|pair| pair[0] * 16 + pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::{
        encoding::AsDer,
        signature::{
            ECDSA_P256_SHA256_FIXED, KeyPair, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
        },
    };

    fn claims() -> Map<String, Value> {
        json!({"iss": "me", "iat": 1, "exp": 301})
            .as_object()
            .unwrap()
            .clone()
    }

    fn pem_of(label: &str, der: &[u8]) -> String {
        let body = STANDARD.encode(der);
        format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
    }

    fn parts(jwt: &Secret) -> (String, Vec<u8>) {
        let (signed, signature) = jwt.expose().rsplit_once('.').unwrap();
        (
            signed.to_owned(),
            URL_SAFE_NO_PAD.decode(signature).unwrap(),
        )
    }

    #[test]
    fn hs256_as_in_the_rfc() {
        // RFC 7515, appendix A.1, with its own bytes for header and claims.
        let key = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow==";
        let signed = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let signature = hs256(&key.into(), KeyEncoding::Base64, signed).unwrap();
        assert_eq!(
            URL_SAFE_NO_PAD.encode(signature),
            "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
        );
    }

    #[test]
    fn rs256_and_es256_verify() {
        let rsa_pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
        let der: aws_lc_rs::encoding::Pkcs8V1Der = rsa_pair.as_der().unwrap();
        let pem = pem_of("PRIVATE KEY", der.as_ref());
        for key in [pem.clone(), pem.replace('\n', "\\n")] {
            let jwt = sign(
                Algorithm::Rs256,
                &key.into(),
                KeyEncoding::Pem,
                &Map::new(),
                &claims(),
            );
            let (signed, signature) = parts(&jwt.unwrap());
            let public =
                UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, rsa_pair.public_key().as_ref());
            public.verify(signed.as_bytes(), &signature).unwrap();
        }
        let ec_pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let der = ec_pair.to_pkcs8v1().unwrap();
        let key = pem_of("PRIVATE KEY", der.as_ref());
        let header = json!({"kid": "k1"}).as_object().unwrap().clone();
        let jwt = sign(
            Algorithm::Es256,
            &key.into(),
            KeyEncoding::Pem,
            &header,
            &claims(),
        );
        let (signed, signature) = parts(&jwt.unwrap());
        let public =
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, ec_pair.public_key().as_ref());
        public.verify(signed.as_bytes(), &signature).unwrap();
        let header = URL_SAFE_NO_PAD
            .decode(signed.split('.').next().unwrap())
            .unwrap();
        let header: Value = serde_json::from_slice(&header).unwrap();
        assert_eq!(header, json!({"alg": "ES256", "kid": "k1", "typ": "JWT"}));
    }

    #[test]
    fn keys_that_are_none_are_refused_without_being_quoted() {
        for (algorithm, key, encoding) in [
            (Algorithm::Rs256, "s3cret", KeyEncoding::Pem),
            (
                Algorithm::Rs256,
                "-----BEGIN PRIVATE KEY-----\nczNjcmV0\n-----END PRIVATE KEY-----",
                KeyEncoding::Pem,
            ),
            (
                Algorithm::Es256,
                "-----BEGIN CERTIFICATE-----\nczNjcmV0\n-----END CERTIFICATE-----",
                KeyEncoding::Pem,
            ),
            (Algorithm::Hs256, "s3cret", KeyEncoding::Hex),
            (Algorithm::Hs256, "", KeyEncoding::Text),
        ] {
            let error = sign(algorithm, &key.into(), encoding, &Map::new(), &claims());
            let text = error.unwrap_err().to_string();
            assert!(!text.contains("s3cret") && !text.contains("czNj"), "{text}");
        }
    }
}
