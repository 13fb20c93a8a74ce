//! The small forms that packed records are made of: numbers, texts, and texts that are like another one. Whoever reads
//! gets `None` where the bytes are not of the form, never a panic.

/// Appends a number, seven bits a byte, the lowest first.
pub(in crate::state) fn put_number(out: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        // The mask leaves seven bits, so nothing is cut off.
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Appends a text: its length and bytes.
pub(in crate::state) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_number(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

/// Appends an optional text; whether there is one is the caller's to remember.
pub(in crate::state) fn put_optional(out: &mut Vec<u8>, text: Option<&str>) {
    if let Some(text) = text {
        put_text(out, text);
    }
}

/// Appends a text by how it differs from `other`: how many bytes they share, and the rest.
pub(in crate::state) fn put_like(out: &mut Vec<u8>, text: &str, other: &str) {
    let shared = common(text.as_bytes(), other.as_bytes());
    put_number(out, shared);
    let rest = text.as_bytes().get(shared..).unwrap_or_default();
    put_number(out, rest.len());
    out.extend_from_slice(rest);
}

/// How many bytes two texts begin with alike.
pub(super) fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// A text that begins as another one does.
#[derive(Clone, Copy, Debug)]
pub(in crate::state) struct Like<'a> {
    shared: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Like<'a> {
    /// Its length in bytes.
    pub(in crate::state) fn len(&self) -> usize {
        self.shared.len() + self.rest.len()
    }

    /// Its two parts.
    pub(in crate::state) fn parts(&self) -> [&'a [u8]; 2] {
        [self.shared, self.rest]
    }

    /// The whole text; `None` where it is not one.
    pub(in crate::state) fn text(&self) -> Option<String> {
        String::from_utf8(self.parts().concat()).ok()
    }

    /// Whether it is a text at all.
    pub(in crate::state) fn is_text(&self) -> bool {
        // Only where both parts are may one spare putting them together.
        let whole = |bytes| std::str::from_utf8(bytes).is_ok();
        (whole(self.shared) && whole(self.rest)) || self.text().is_some()
    }
}

/// Reads packed bytes from their beginning.
#[derive(Clone, Copy, Debug)]
pub(in crate::state) struct Reader<'a>(pub(in crate::state) &'a [u8]);

impl<'a> Reader<'a> {
    /// The next byte.
    pub(in crate::state) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// The next bytes, so many.
    pub(in crate::state) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    /// The next bytes, as many as the type says.
    pub(in crate::state) fn array<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(bytes)
    }

    /// A number, as [`put_number`] wrote it.
    #[inline]
    pub(in crate::state) fn number(&mut self) -> Option<usize> {
        match self.0 {
            // Nearly all are below 128.
            [byte, rest @ ..] if *byte < 0x80 => {
                self.0 = rest;
                Some(usize::from(*byte))
            }
            _ => self.long_number(),
        }
    }

    fn long_number(&mut self) -> Option<usize> {
        let mut number = 0_usize;
        for shift in (0..usize::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = usize::from(byte & 0x7f);
            let moved = bits << shift;
            if moved >> shift != bits {
                return None;
            }
            number |= moved;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    /// A text, as [`put_text`] wrote it.
    pub(in crate::state) fn text(&mut self) -> Option<&'a str> {
        let length = self.number()?;
        std::str::from_utf8(self.bytes(length)?).ok()
    }

    /// A text if there is one.
    pub(in crate::state) fn optional(&mut self, there: bool) -> Option<Option<&'a str>> {
        if there { self.text().map(Some) } else { Some(None) }
    }

    /// A text like `other`, as [`put_like`] wrote it.
    pub(in crate::state) fn like(&mut self, other: &'a str) -> Option<Like<'a>> {
        let shared = other.as_bytes().get(..self.number()?)?;
        let length = self.number()?;
        Some(Like { shared, rest: self.bytes(length)? })
    }
}
