"""What a validation leaves for people: tables, pictures, and a page of them."""
