//! The Huffman code of HPACK (RFC 7541 §5.2, appendix B).
//!
//! The code is canonical: codes of one length follow each other in the order of their symbols, and the next length
//! begins where one ends. So the lengths say everything; codes and the decoder's table are made of them when this
//! is compiled.

/// The symbol that ends no string.
const EOS: usize = 256;

/// Bits of the code of each byte, and of EOS.
const LENGTHS: [u8; EOS + 1] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, //
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28, //
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, //
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, //
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, //
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, //
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, //
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, //
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, //
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, //
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, //
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, //
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, //
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, //
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, //
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, //
    30,
];

const LENGTH_MAX: u8 = 30;

/// The code of each symbol, in its low bits.
const CODES: [u32; EOS + 1] = {
    let mut codes = [0; EOS + 1];
    let mut next = 0_u32;
    let mut length = 1;
    while length <= LENGTH_MAX {
        next <<= 1;
        let mut symbol = 0;
        while symbol <= EOS {
            if LENGTHS[symbol] == length {
                codes[symbol] = next;
                next += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    codes
};

/// Where four more bits lead from a place in the tree.
#[derive(Clone, Copy)]
struct Step {
    next: u8,
    /// On the way a symbol has ended; none has fewer than five bits, so there is no second one.
    emits: bool,
    symbol: u8,
    /// The bits are no beginning of any string.
    fails: bool,
}

/// Nodes of the tree that are no leaves: one fewer than symbols.
const NODES: usize = EOS;

/// A leaf among the children.
const LEAF: u16 = 0x8000;

/// Both children of each node.
const TREE: [[u16; 2]; NODES] = {
    let mut tree = [[0; 2]; NODES];
    let mut nodes = 1;
    let mut symbol = 0;
    while symbol <= EOS {
        let mut node = 0;
        let mut left = LENGTHS[symbol];
        while left > 0 {
            left -= 1;
            let bit = (CODES[symbol] >> left & 1) as usize;
            if left == 0 {
                tree[node][bit] = LEAF | symbol as u16;
            } else {
                if tree[node][bit] == 0 {
                    tree[node][bit] = nodes;
                    nodes += 1;
                }
                node = tree[node][bit] as usize;
            }
        }
        symbol += 1;
    }
    tree
};

static STEPS: [[Step; 16]; NODES] = {
    let fails = Step {
        next: 0,
        emits: false,
        symbol: 0,
        fails: true,
    };
    let mut steps = [[fails; 16]; NODES];
    let mut from = 0;
    while from < NODES {
        let mut bits = 0;
        while bits < 16 {
            let mut step = Step {
                next: 0,
                emits: false,
                symbol: 0,
                fails: false,
            };
            let mut node = from;
            let mut left = 4;
            while left > 0 {
                left -= 1;
                let child = TREE[node][bits >> left & 1];
                if child == LEAF | EOS as u16 {
                    step.fails = true;
                    node = 0;
                } else if child & LEAF != 0 {
                    step.emits = true;
                    step.symbol = child as u8;
                    node = 0;
                } else {
                    node = child as usize;
                }
            }
            step.next = node as u8;
            steps[from][bits] = step;
            bits += 1;
        }
        from += 1;
    }
    steps
};

/// Where a string may end: at the start of a symbol, or within its padding, which is up to seven bits of the most
/// significant ones of EOS: ones.
static MAY_END: [bool; NODES] = {
    let mut may_end = [false; NODES];
    let mut node = 0;
    let mut bits = 0;
    while bits < 8 {
        may_end[node] = true;
        node = TREE[node][1] as usize;
        bits += 1;
    }
    may_end
};

/// Appends the string that `bytes` encodes, which has at most 8/5 of its bytes.
///
/// `None` where it is none: EOS within it, or padding that is too long or has zeros.
pub(super) fn decode(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    out.reserve(bytes.len() * 8 / 5);
    let mut node = 0;
    for byte in bytes {
        for bits in [byte >> 4, byte & 0xf] {
            let step = STEPS[usize::from(node)][usize::from(bits)];
            if step.fails {
                return None;
            }
            if step.emits {
                out.push(step.symbol);
            }
            node = step.next;
        }
    }
    MAY_END[usize::from(node)].then_some(())
}

/// Appends the code of a string. Only tests do: what it spares the network, it costs in time.
#[cfg(test)]
pub(in super::super) fn encode(text: &[u8], out: &mut Vec<u8>) {
    let mut bits = 0_u64;
    let mut count = 0;
    for byte in text {
        let length = LENGTHS[usize::from(*byte)];
        bits = bits << length | u64::from(CODES[usize::from(*byte)]);
        count += u32::from(length);
        while count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    if count > 0 {
        out.push((bits << (8 - count)) as u8 | (0xff >> count) as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expected: Option<&[u8]>) {
        let mut out = Vec::new();
        let decoded = decode(bytes, &mut out).map(|()| &out[..]);
        assert_eq!(decoded, expected, "{bytes:x?}");
        if let Some(text) = expected {
            let mut encoded = Vec::new();
            encode(text, &mut encoded);
            assert_eq!(encoded, bytes);
        }
    }

    #[test]
    fn codes_are_those_of_the_appendix() {
        // One of each length that occurs most, the last ones, and EOS.
        for (symbol, code) in [
            (usize::from(b'0'), 0x0),
            (usize::from(b'%'), 0x15),
            (usize::from(b'z'), 0x7b),
            (usize::from(b'&'), 0xf8),
            (usize::from(b'!'), 0x3f8),
            (usize::from(b'\\'), 0x7fff0),
            (0, 0x1ff8),
            (10, 0x3fff_fffc),
            (22, 0x3fff_fffe),
            (249, 0xfff_fffe),
            (255, 0x3ff_ffee),
            (EOS, 0x3fff_ffff),
        ] {
            assert_eq!(CODES[symbol], code, "{symbol}");
        }
    }

    #[test]
    fn strings_of_the_appendix_are_read() {
        // RFC 7541, C.4.1 and C.6.1.
        check(
            &[
                0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff,
            ],
            Some(b"www.example.com"),
        );
        check(&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], Some(b"no-cache"));
        check(&[0x64, 0x02], Some(b"302"));
        check(b"", Some(b""));
        let every: Vec<u8> = (0..=255).collect();
        let mut encoded = Vec::new();
        encode(&every, &mut encoded);
        check(&encoded, Some(&every));
    }

    #[test]
    fn padding_is_ones_and_shorter_than_a_byte() {
        // `0` has five zeros.
        check(&[0b0000_0111], Some(b"0"));
        check(&[0b0000_0110], None);
        check(&[0b0000_0111, 0xff], None);
        check(&[0xff], None);
        check(&[0xff, 0xff, 0xff, 0xff], None);
        // EOS whole, with a symbol behind it.
        check(&[0xff, 0xff, 0xff, 0xfc, 0x07], None);
    }
}
