//! Windows of flow control (RFC 9113 section 5.2).

/// Largest window (RFC 9113 section 6.9.1).
pub(super) const MAX_WINDOW: i64 = 0x7FFF_FFFF;
/// Window of a new connection, and of its streams until settings say otherwise (RFC 9113 section 6.9.2).
pub(super) const DEFAULT_WINDOW: u32 = 65_535;

/// Bytes that one side may still send. Less than zero after settings have made it smaller.
#[derive(Clone, Copy, Debug)]
pub(super) struct SendWindow(i64);

/// A window has become larger than it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WindowOverflow;

impl SendWindow {
    pub(super) fn new(size: u32) -> Self {
        Self(i64::from(size))
    }

    /// Bytes that may be sent now.
    pub(super) fn available(self) -> usize {
        usize::try_from(self.0).unwrap_or(0)
    }

    /// Records that `bytes`, at most those available, are sent.
    pub(super) fn spend(&mut self, bytes: usize) {
        self.0 -= i64::from(bytes as u32);
    }

    /// Allows `bytes` more, or fewer if negative.
    pub(super) fn widen(&mut self, bytes: i64) -> Result<(), WindowOverflow> {
        self.0 += bytes;
        if self.0 > MAX_WINDOW { Err(WindowOverflow) } else { Ok(()) }
    }
}

/// The window in which the peer sends, and what was read of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReceiveWindow {
    window: SendWindow,
    /// Bytes read that the peer does not know of yet.
    read: u32,
}

impl ReceiveWindow {
    pub(super) fn new(size: u32) -> Self {
        Self { window: SendWindow::new(size), read: 0 }
    }

    /// Counts `bytes` from the peer. Returns false if it had no right to send them.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        let allowed = bytes <= self.window.available();
        self.window.spend(bytes);
        allowed
    }

    /// Counts `bytes` that were read. Returns what the peer is told, once that is half of the window's `size`: not each
    /// read is worth a frame.
    pub(super) fn read(&mut self, bytes: usize, size: u32) -> Option<u32> {
        self.read += bytes as u32;
        let due = self.read > 0 && self.read >= size / 2;
        due.then(|| self.announce())
    }

    /// Widens the window by what was read and the peer does not know of. Returns how much that is.
    fn announce(&mut self) -> u32 {
        let read = std::mem::take(&mut self.read);
        self.window.0 += i64::from(read);
        read
    }

    /// Changes the size of the window.
    pub(super) fn resize(&mut self, by: i64) {
        self.window.0 += by;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_may_become_negative_and_has_a_bound() {
        let mut window = SendWindow::new(10);
        window.spend(10);
        assert_eq!(window.widen(-5), Ok(()));
        assert_eq!(window.available(), 0);
        assert_eq!(window.widen(6), Ok(()));
        assert_eq!(window.available(), 1);
        assert_eq!(window.widen(MAX_WINDOW), Err(WindowOverflow));
    }

    #[test]
    fn what_was_read_is_announced_once_it_is_half_of_the_window() {
        let mut window = ReceiveWindow::new(100);
        assert!(window.take(100));
        assert_eq!((window.read(49, 100), window.read(1, 100)), (None, Some(50)));
        assert!(window.take(50));
        assert!(!window.take(1));
    }
}
