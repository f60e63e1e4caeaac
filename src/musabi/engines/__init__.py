"""Trainers: each turns a job into command lines, and its output into events."""
