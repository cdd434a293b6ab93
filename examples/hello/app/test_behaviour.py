"""The example's own tests: they run inside an instance of the image."""

import unittest

import behaviour


class Behaviour(unittest.TestCase):
    """What every release must keep to."""

    def test_the_greeting_begins_with_the_flag(self):
        assert behaviour.greeting("hello").startswith("hello, "), behaviour.greeting("hello")

    def test_the_greeting_names_the_release(self):
        assert behaviour.RELEASE in behaviour.greeting("hello")

    def test_an_instance_with_a_greeting_is_healthy(self):
        assert behaviour.is_healthy("hello")


if __name__ == "__main__":
    unittest.main()
