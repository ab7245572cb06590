"""Drop-in price sources."""
