from typing import TYPE_CHECKING, Unpack

from pylae.registry import SourceSettings
