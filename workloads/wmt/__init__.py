"""WMT: translate German into English."""
