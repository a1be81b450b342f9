"""Reports as HTML pages: one self-contained file each, and an index of those in a home."""

from mnist_study.pages.html import render
from mnist_study.pages.index import INDEX, write_index
from mnist_study.pages.model import REPORT, Page, Picture, Section, Trials

__all__ = ["INDEX", "REPORT", "Page", "Picture", "Section", "Trials", "render", "write_index"]
