"""Several processes that train as one: which launcher started them, how they meet, and what they say."""
